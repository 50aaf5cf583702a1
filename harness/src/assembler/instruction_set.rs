//! The closed set of instructions that payloads are made of, by the names that assembly text
//! uses. The encodings are those that the model executes, and no others.

use std::collections::HashMap;
use std::sync::LazyLock;

use iced_x86::{Code, Mnemonic};
use spec_model::x86::instruction_set::encodings;

/// An instruction as assembly text names it, and what it can be encoded as.
#[derive(Debug)]
pub(super) struct Entry {
    /// Name in lower case.
    pub name: String,
    /// All encodings, in the order of iced-x86's table.
    pub codes: Vec<Code>,
    /// What is special about it.
    pub rule: Rule,
}

/// What is special about an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Nothing: the operands decide.
    Plain,
    /// Without a sized operand it has the size that needs no prefix.
    Natural,
    /// The same, but in 64-bit code the size must be said, because the natural one is 32
    /// bits.
    NaturalBelow64,
    /// The two operands can change places.
    Commutes,
    /// It reads 16 bits of a register operand of any width.
    Reads16,
    /// A string instruction: operands may be left out.
    String,
    /// `imul`: two operands with an immediate stand for three.
    Multiply,
}

/// Names with the mnemonics of iced-x86 that they cover.
const PLAIN: &[(&str, &[Mnemonic])] = &[
    ("movzx", &[Mnemonic::Movzx]),
    ("movsx", &[Mnemonic::Movsx]),
    ("movsxd", &[Mnemonic::Movsxd]),
    ("lea", &[Mnemonic::Lea]),
    ("add", &[Mnemonic::Add]),
    ("adc", &[Mnemonic::Adc]),
    ("sub", &[Mnemonic::Sub]),
    ("sbb", &[Mnemonic::Sbb]),
    ("cmp", &[Mnemonic::Cmp]),
    ("and", &[Mnemonic::And]),
    ("or", &[Mnemonic::Or]),
    ("xor", &[Mnemonic::Xor]),
    ("not", &[Mnemonic::Not]),
    ("neg", &[Mnemonic::Neg]),
    ("inc", &[Mnemonic::Inc]),
    ("dec", &[Mnemonic::Dec]),
    ("shl", &[Mnemonic::Shl]),
    ("sal", &[Mnemonic::Shl, Mnemonic::Sal]),
    ("shr", &[Mnemonic::Shr]),
    ("sar", &[Mnemonic::Sar]),
    ("rol", &[Mnemonic::Rol]),
    ("ror", &[Mnemonic::Ror]),
    ("mul", &[Mnemonic::Mul]),
    ("div", &[Mnemonic::Div]),
    ("idiv", &[Mnemonic::Idiv]),
    ("bt", &[Mnemonic::Bt]),
    ("bts", &[Mnemonic::Bts]),
    ("btr", &[Mnemonic::Btr]),
    ("btc", &[Mnemonic::Btc]),
    ("xadd", &[Mnemonic::Xadd]),
    ("cmpxchg", &[Mnemonic::Cmpxchg]),
    ("cmpxchg8b", &[Mnemonic::Cmpxchg8b]),
    ("cbw", &[Mnemonic::Cbw]),
    ("cwde", &[Mnemonic::Cwde]),
    ("cdqe", &[Mnemonic::Cdqe]),
    ("cwd", &[Mnemonic::Cwd]),
    ("cdq", &[Mnemonic::Cdq]),
    ("cqo", &[Mnemonic::Cqo]),
    ("clc", &[Mnemonic::Clc]),
    ("stc", &[Mnemonic::Stc]),
    ("cmc", &[Mnemonic::Cmc]),
    ("cld", &[Mnemonic::Cld]),
    ("std", &[Mnemonic::Std]),
    ("lahf", &[Mnemonic::Lahf]),
    ("sahf", &[Mnemonic::Sahf]),
    ("in", &[Mnemonic::In]),
    ("out", &[Mnemonic::Out]),
    ("int", &[Mnemonic::Int]),
    ("int3", &[Mnemonic::Int3]),
    ("int1", &[Mnemonic::Int1]),
    ("into", &[Mnemonic::Into]),
    ("iretw", &[Mnemonic::Iret]),
    ("iretd", &[Mnemonic::Iretd]),
    ("iretq", &[Mnemonic::Iretq]),
    ("pushfw", &[Mnemonic::Pushf]),
    ("pushfd", &[Mnemonic::Pushfd]),
    ("pushfq", &[Mnemonic::Pushfq]),
    ("popfw", &[Mnemonic::Popf]),
    ("popfd", &[Mnemonic::Popfd]),
    ("popfq", &[Mnemonic::Popfq]),
    ("pushaw", &[Mnemonic::Pusha]),
    ("pushad", &[Mnemonic::Pushad]),
    ("popaw", &[Mnemonic::Popa]),
    ("popad", &[Mnemonic::Popad]),
    ("cli", &[Mnemonic::Cli]),
    ("sti", &[Mnemonic::Sti]),
    ("hlt", &[Mnemonic::Hlt]),
    ("pause", &[Mnemonic::Pause]),
    ("sldt", &[Mnemonic::Sldt]),
    ("str", &[Mnemonic::Str]),
    ("smsw", &[Mnemonic::Smsw]),
    ("clts", &[Mnemonic::Clts]),
    ("invlpg", &[Mnemonic::Invlpg]),
    ("wbinvd", &[Mnemonic::Wbinvd]),
    ("rdmsr", &[Mnemonic::Rdmsr]),
    ("wrmsr", &[Mnemonic::Wrmsr]),
    ("swapgs", &[Mnemonic::Swapgs]),
    ("syscall", &[Mnemonic::Syscall]),
    ("sysenter", &[Mnemonic::Sysenter]),
    ("sysexitd", &[Mnemonic::Sysexit]),
    ("sysexitq", &[Mnemonic::Sysexitq]),
    ("cpuid", &[Mnemonic::Cpuid]),
    ("sysretd", &[Mnemonic::Sysret]),
    ("sysretq", &[Mnemonic::Sysretq]),
    ("ud0", &[Mnemonic::Ud0]),
    ("ud1", &[Mnemonic::Ud1]),
    ("ud2", &[Mnemonic::Ud2]),
    ("fwait", &[Mnemonic::Wait]),
    ("endbr32", &[Mnemonic::Endbr32]),
    ("endbr64", &[Mnemonic::Endbr64]),
    ("rsm", &[Mnemonic::Rsm]),
    ("vmcall", &[Mnemonic::Vmcall]),
    ("vmmcall", &[Mnemonic::Vmmcall]),
];

const NATURAL: &[(&str, &[Mnemonic])] = &[
    ("push", &[Mnemonic::Push]),
    ("pop", &[Mnemonic::Pop]),
    ("pushf", &[Mnemonic::Pushf, Mnemonic::Pushfd, Mnemonic::Pushfq]),
    ("popf", &[Mnemonic::Popf, Mnemonic::Popfd, Mnemonic::Popfq]),
    ("pusha", &[Mnemonic::Pusha, Mnemonic::Pushad]),
    ("popa", &[Mnemonic::Popa, Mnemonic::Popad]),
    ("jmp", &[Mnemonic::Jmp]),
    ("call", &[Mnemonic::Call]),
    ("ret", &[Mnemonic::Ret]),
    ("loop", &[Mnemonic::Loop]),
    ("loope", &[Mnemonic::Loope]),
    ("loopz", &[Mnemonic::Loope]),
    ("loopne", &[Mnemonic::Loopne]),
    ("loopnz", &[Mnemonic::Loopne]),
    ("jcxz", &[Mnemonic::Jcxz]),
    ("jecxz", &[Mnemonic::Jecxz]),
    ("jrcxz", &[Mnemonic::Jrcxz]),
    ("lgdt", &[Mnemonic::Lgdt]),
    ("lidt", &[Mnemonic::Lidt]),
    ("sgdt", &[Mnemonic::Sgdt]),
    ("sidt", &[Mnemonic::Sidt]),
    ("nop", &[Mnemonic::Nop]),
];

const NATURAL_BELOW_64: &[(&str, &[Mnemonic])] = &[
    ("iret", &[Mnemonic::Iret, Mnemonic::Iretd, Mnemonic::Iretq]),
    ("retf", &[Mnemonic::Retf]),
    ("sysret", &[Mnemonic::Sysret, Mnemonic::Sysretq]),
    ("sysexit", &[Mnemonic::Sysexit, Mnemonic::Sysexitq]),
];

const COMMUTES: &[(&str, &[Mnemonic])] = &[("xchg", &[Mnemonic::Xchg]), ("test", &[Mnemonic::Test])];

const READS_16: &[(&str, &[Mnemonic])] = &[
    ("mov", &[Mnemonic::Mov]),
    ("lldt", &[Mnemonic::Lldt]),
    ("ltr", &[Mnemonic::Ltr]),
    ("lmsw", &[Mnemonic::Lmsw]),
];

const STRING: &[(&str, &[Mnemonic])] = &[
    (
        "movs",
        &[Mnemonic::Movsb, Mnemonic::Movsw, Mnemonic::Movsd, Mnemonic::Movsq],
    ),
    (
        "cmps",
        &[Mnemonic::Cmpsb, Mnemonic::Cmpsw, Mnemonic::Cmpsd, Mnemonic::Cmpsq],
    ),
    (
        "stos",
        &[Mnemonic::Stosb, Mnemonic::Stosw, Mnemonic::Stosd, Mnemonic::Stosq],
    ),
    (
        "lods",
        &[Mnemonic::Lodsb, Mnemonic::Lodsw, Mnemonic::Lodsd, Mnemonic::Lodsq],
    ),
    (
        "scas",
        &[Mnemonic::Scasb, Mnemonic::Scasw, Mnemonic::Scasd, Mnemonic::Scasq],
    ),
    ("ins", &[Mnemonic::Insb, Mnemonic::Insw, Mnemonic::Insd]),
    ("outs", &[Mnemonic::Outsb, Mnemonic::Outsw, Mnemonic::Outsd]),
];

const MULTIPLY: &[(&str, &[Mnemonic])] = &[("imul", &[Mnemonic::Imul])];

/// Conditions with their synonyms, and the jump, set and move that test them.
const CONDITIONS: &[(&[&str], Mnemonic, Mnemonic, Mnemonic)] = &[
    (&["o"], Mnemonic::Jo, Mnemonic::Seto, Mnemonic::Cmovo),
    (&["no"], Mnemonic::Jno, Mnemonic::Setno, Mnemonic::Cmovno),
    (&["b", "c", "nae"], Mnemonic::Jb, Mnemonic::Setb, Mnemonic::Cmovb),
    (
        &["ae", "nb", "nc"],
        Mnemonic::Jae,
        Mnemonic::Setae,
        Mnemonic::Cmovae,
    ),
    (&["e", "z"], Mnemonic::Je, Mnemonic::Sete, Mnemonic::Cmove),
    (&["ne", "nz"], Mnemonic::Jne, Mnemonic::Setne, Mnemonic::Cmovne),
    (&["be", "na"], Mnemonic::Jbe, Mnemonic::Setbe, Mnemonic::Cmovbe),
    (&["a", "nbe"], Mnemonic::Ja, Mnemonic::Seta, Mnemonic::Cmova),
    (&["s"], Mnemonic::Js, Mnemonic::Sets, Mnemonic::Cmovs),
    (&["ns"], Mnemonic::Jns, Mnemonic::Setns, Mnemonic::Cmovns),
    (&["p", "pe"], Mnemonic::Jp, Mnemonic::Setp, Mnemonic::Cmovp),
    (&["np", "po"], Mnemonic::Jnp, Mnemonic::Setnp, Mnemonic::Cmovnp),
    (&["l", "nge"], Mnemonic::Jl, Mnemonic::Setl, Mnemonic::Cmovl),
    (&["ge", "nl"], Mnemonic::Jge, Mnemonic::Setge, Mnemonic::Cmovge),
    (&["le", "ng"], Mnemonic::Jle, Mnemonic::Setle, Mnemonic::Cmovle),
    (&["g", "nle"], Mnemonic::Jg, Mnemonic::Setg, Mnemonic::Cmovg),
];

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let mut by_mnemonic: HashMap<Mnemonic, Vec<Code>> = HashMap::new();
    for code in encodings() {
        by_mnemonic.entry(code.mnemonic()).or_default().push(code);
    }
    let entry = |name: String, mnemonics: &[Mnemonic], rule| Entry {
        name,
        codes: mnemonics
            .iter()
            .flat_map(|mnemonic| by_mnemonic.get(mnemonic).into_iter().flatten().copied())
            .collect(),
        rule,
    };
    let tables = [
        (PLAIN, Rule::Plain),
        (NATURAL, Rule::Natural),
        (NATURAL_BELOW_64, Rule::NaturalBelow64),
        (COMMUTES, Rule::Commutes),
        (READS_16, Rule::Reads16),
        (STRING, Rule::String),
        (MULTIPLY, Rule::Multiply),
    ];
    let mut entries = Vec::new();
    for (rows, rule) in tables {
        entries.extend(
            rows.iter()
                .map(|(name, mnemonics)| entry((*name).to_owned(), mnemonics, rule)),
        );
    }
    for (_, sized) in STRING {
        for mnemonic in *sized {
            let name = format!("{mnemonic:?}").to_ascii_lowercase();
            entries.push(entry(name, &[*mnemonic], Rule::String));
        }
    }
    for (suffix, mnemonic) in [("w", Code::Retfw), ("d", Code::Retfd), ("q", Code::Retfq)] {
        let size = mnemonic.op_code().operand_size();
        let mut retf = entry(format!("retf{suffix}"), &[Mnemonic::Retf], Rule::Plain);
        retf.codes.retain(|code| code.op_code().operand_size() == size);
        entries.push(retf);
    }
    for (suffixes, jump, set, conditional_move) in CONDITIONS {
        for suffix in *suffixes {
            entries.push(entry(format!("j{suffix}"), &[*jump], Rule::Natural));
            entries.push(entry(format!("set{suffix}"), &[*set], Rule::Plain));
            entries.push(entry(format!("cmov{suffix}"), &[*conditional_move], Rule::Plain));
        }
    }
    entries.sort_by(|left, right| left.name.cmp(&right.name));
    entries
});

/// Names of all instructions, in alphabetical order.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().map(|entry| entry.name.as_str())
}

/// The instruction of that name in lower case.
pub(super) fn named(name: &str) -> Option<&'static Entry> {
    let index = ENTRIES
        .binary_search_by(|entry| entry.name.as_str().cmp(name))
        .ok()?;
    ENTRIES.get(index)
}

/// Whether some processor has an instruction of that name.
pub(super) fn exists_elsewhere(name: &str) -> bool {
    let is_called = |mnemonic: Mnemonic| {
        mnemonic != Mnemonic::INVALID && format!("{mnemonic:?}").eq_ignore_ascii_case(name)
    };
    Mnemonic::values().any(is_called)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_is_unique_and_has_an_encoding() {
        let all: Vec<&str> = names().collect();
        assert!(
            all.windows(2).all(|pair| pair.first() < pair.last()),
            "a name occurs twice"
        );
        for name in all {
            assert!(named(name).is_some_and(|entry| !entry.codes.is_empty()), "{name}");
        }
    }

    /// What assembles is what the model executes: no more and no less.
    #[test]
    fn the_names_cover_all_that_the_model_executes() {
        let named: HashSet<Code> = names()
            .filter_map(named)
            .flat_map(|entry| entry.codes.iter().copied())
            .collect();
        let executed: HashSet<Code> = encodings().collect();
        let nameless: Vec<&Code> = executed.difference(&named).collect();
        assert!(nameless.is_empty(), "the assembler has no name for {nameless:?}");
        assert_eq!(named.len(), executed.len());
    }

    #[test]
    fn only_the_integer_movsd_is_there() {
        assert_eq!(
            named("movsd").map(|entry| entry.codes.clone()),
            Some(vec![Code::Movsd_m32_m32])
        );
        assert!(named("xorps").is_none());
    }
}
