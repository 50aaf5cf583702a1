//! A sequence as the text of a case file.

use spec_model::requirement::{self, Requirement};

use super::place::{At, chains, slot};
use super::symbol::{Symbol, words};

/// What sequences check, whichever they are.
const CHECKS: [&Requirement; 9] = [
    &requirement::NMI_MASK_001,
    &requirement::NMI_MASK_002,
    &requirement::NMI_MASK_004,
    &requirement::NMI_MASK_007,
    &requirement::NMI_SMM_002,
    &requirement::NMI_SMM_005,
    &requirement::SMM_LATCH_001,
    &requirement::SMM_LATCH_002,
    &requirement::SMM_SAVE_006,
];

/// Name of the case of a sequence.
#[must_use]
pub fn name(sequence: &[Symbol]) -> String {
    let mut name = String::with_capacity(64);
    name.push_str("sequences/");
    for (index, symbol) in sequence.iter().enumerate() {
        if index > 0 {
            name.push('-');
        }
        name.extend(symbol.name().chars().map(|letter| letter.to_ascii_lowercase()));
    }
    name
}

/// The points at which the host raises something in a sequence; all there are for no event.
pub(super) fn raised(sequence: &[Symbol]) -> impl Iterator<Item = At> {
    At::ALL.into_iter().filter(move |at| {
        let is_it = |pair: (Option<Symbol>, Symbol)| {
            At::raising(pair.1, pair.0.filter(|symbol| symbol.is_shadow())) == Some(*at)
        };
        let before = std::iter::once(None).chain(sequence.iter().copied().map(Some));
        at.raises() && (sequence.is_empty() || before.zip(sequence.iter().copied()).any(is_it))
    })
}

/// The sequence as a case file. `paths` are the orders of stops that the model allows.
#[must_use]
pub fn case_text(sequence: &[Symbol], paths: &[Vec<String>]) -> String {
    let checks: Vec<&str> = CHECKS.iter().map(|requirement| requirement.id).collect();
    let title = match sequence {
        [] => "No event at all".to_owned(),
        sequence => format!("The sequence {}", words(sequence)),
    };
    let mut text = format!(
        "# yaml-language-server: $schema=../case.schema.json\ntitle: {title}\nchecks: [{}]\n",
        checks.join(", ")
    );
    text += MACHINE;
    text += "  sequence: |\n";
    for (position, chain) in chains(sequence) {
        text += &format!(
            "    .at {:#x}\n    op{}:            # {}\n",
            slot(position),
            position + 1,
            words(chain)
        );
        for line in lines(position, chain) {
            text += &format!("    {line}\n");
        }
    }
    let end = sequence.len();
    text += &format!("    .at {:#x}\n    op{}:\n    hlt\n", slot(end), end + 1);
    for (index, at) in raised(sequence).enumerate() {
        if index == 0 {
            text += "host:\n";
        }
        text += match at {
            At::Nmi => "  - { at: nmi, do: nmi }\n",
            At::Smi => "  - { at: smi, do: smi }\n",
            At::StiNmi => "  - { at: sti-nmi, shadow: sti, do: nmi }\n",
            At::MovSsNmi => "  - { at: mov-ss-nmi, shadow: mov-ss, do: nmi }\n",
            At::StiSmi => "  - { at: sti-smi, shadow: sti, do: smi }\n",
            At::MovSsSmi => "  - { at: mov-ss-smi, shadow: mov-ss, do: smi }\n",
            _ => "",
        };
    }
    match paths {
        [] => {}
        [path] => text += &format!("path: [{}]\n", path.join(", ")),
        paths => {
            text += "path:\n  any-of:\n";
            for path in paths {
                text += &format!("    - [{}]\n", path.join(", "));
            }
        }
    }
    text
}

/// What [`Payload::code`] puts into bytes, as text.
fn lines(position: usize, chain: &[Symbol]) -> Vec<String> {
    let mut lines = vec![format!(
        "mov word ptr [next], offset op{}",
        position + chain.len() + 1
    )];
    for (symbol, line) in [(Symbol::Sti, "cli"), (Symbol::MovSs, "mov ax, ss")] {
        if chain.contains(&symbol) {
            lines.push(line.to_owned());
        }
    }
    let mut shadow = None;
    for symbol in chain {
        lines.push(match symbol {
            Symbol::Nmi | Symbol::Smi => {
                let at = At::raising(*symbol, shadow).unwrap_or(At::Nmi);
                format!("sync {}", at.name())
            }
            Symbol::Iret => "iret".to_owned(),
            Symbol::Rsm => "rsm".to_owned(),
            Symbol::Int3 => "int3".to_owned(),
            Symbol::Fault => "ud2".to_owned(),
            Symbol::Sti => "sti".to_owned(),
            Symbol::MovSs => "mov ss, ax".to_owned(),
        });
        shadow = symbol.is_shadow().then_some(*symbol);
    }
    lines.push("jmp word ptr [back]".to_owned());
    lines
}

/// A usable LDTR leaves nothing open in the state-save area (SEG-CACHE-002).
const MACHINE: &str = "\
machine:
  mode: real
  registers: { rsp: offset main_frames, ldtr.attributes: 0x82, ldtr.limit: 0xffff }
code:
  start: |
    jmp word ptr [next]
  resumed: |                   # behind an event, or back from its handler
    sync resumed
    jmp word ptr [next]
  nmi: |
    sync in-nmi
    jmp word ptr [next]
  bp: |
    sync in-bp
    jmp word ptr [next]
  ud: |
    pop ax
    add ax, 2                  # UD2 and RSM are two bytes long
    push ax
    sync in-ud
    jmp word ptr [next]
  smi: |
    mov sp, offset smm_frames
    lidt [vectors]             # exceptions and NMIs in SMM have the same handlers
    jmp 0:in_smm
  in_smm: |
    sync in-smi
    jmp word ptr [next]
  points: |                    # never run: gives the points the same numbers in every sequence
    sync nmi
    sync smi
    sync sti-nmi
    sync mov-ss-nmi
    sync sti-smi
    sync mov-ss-smi
  data: |
    .at 0x6000
    next:
    dw offset op1
    back:
    dw offset resumed
    vectors:
    dw 0x3ff
    dd 0
  stacks: |                    # what IRET finds outside handlers leads to `resumed`
    .at 0x6800
    smm_frames:
    dw offset resumed, 0, 2, offset resumed, 0, 2, offset resumed, 0, 2, offset resumed, 0, 2
    dw offset resumed, 0, 2, offset resumed, 0, 2, offset resumed, 0, 2, offset resumed, 0, 2
    .at 0x6f00
    main_frames:
    dw offset resumed, 0, 2, offset resumed, 0, 2, offset resumed, 0, 2, offset resumed, 0, 2
    dw offset resumed, 0, 2, offset resumed, 0, 2, offset resumed, 0, 2, offset resumed, 0, 2
";
