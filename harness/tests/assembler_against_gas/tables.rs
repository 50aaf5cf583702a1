//! Instructions that need no operands, or only these.

/// Suffixes of jumps, sets and moves.
pub const CONDITIONS: [&str; 30] = [
    "o", "no", "b", "c", "nae", "ae", "nb", "nc", "e", "z", "ne", "nz", "be", "na", "a", "nbe", "s", "ns",
    "p", "pe", "np", "po", "l", "nge", "ge", "nl", "le", "ng", "g", "nle",
];

/// Instructions without operands in all code sizes.
pub const ALONE: &[&str] = &[
    "cbw", "cwde", "cwd", "cdq", "clc", "stc", "cmc", "cld", "std", "lahf", "sahf", "ret", "int3", "int1",
    "cli", "sti", "hlt", "nop", "pause", "clts", "rdmsr", "wrmsr", "syscall", "fwait", "endbr32", "endbr64",
    "ud2", "rsm", "wbinvd", "pushf", "popf", "iretd", "cpuid", "sysenter", "vmcall", "vmmcall",
];

/// Instructions of 16- and 32-bit code, for this suite's assembler and for GNU `as`.
pub const ALONE_BELOW_64: &[(&str, &str)] = &[
    ("iret", "iret"),
    ("iretw", "iretw"),
    ("retf", "retf"),
    ("retf 4", "retf 4"),
    ("retfw", "retfw"),
    ("retfd", "retfd"),
    ("into", "into"),
    ("pusha", "pusha"),
    ("popa", "popa"),
    ("pushaw", "pushaw"),
    ("popaw", "popaw"),
    ("pushad", "pushad"),
    ("popad", "popad"),
    ("pushfw", "pushfw"),
    ("popfw", "popfw"),
    ("pushfd", "pushfd"),
    ("popfd", "popfd"),
    ("sysret", "sysret"),
    ("sysretd", "sysret"),
    ("sysexit", "sysexit"),
    ("sysexitd", "sysexit"),
];

/// Instructions of 64-bit code, for this suite's assembler and for GNU `as`.
pub const ALONE_64: &[(&str, &str)] = &[
    ("iretq", "iretq"),
    ("iretw", "iretw"),
    ("retfd", "retf"),
    ("retfd 4", "retf 4"),
    ("retfq", "rex.w retf"),
    ("retfw", "retfw"),
    ("cdqe", "cdqe"),
    ("cqo", "cqo"),
    ("swapgs", "swapgs"),
    // The Intel syntax of GNU as has no name for this one.
    ("sysretd", ".att_syntax; sysretl; .intel_syntax noprefix"),
    ("sysretq", "sysretq"),
    ("sysexitd", ".att_syntax; sysexitl; .intel_syntax noprefix"),
    ("sysexitq", "sysexitq"),
    ("pushfq", "pushfq"),
    ("popfq", "popfq"),
    ("pushfw", "pushfw"),
    ("popfw", "popfw"),
    ("mov cr8, rax", "mov cr8, rax"),
    ("movsxd rax, ecx", "movsxd rax, ecx"),
    ("movsxd r9, dword ptr [rax]", "movsxd r9, dword ptr [rax]"),
    ("mov rax, 0x123456789abcdef0", "movabs rax, 0x123456789abcdef0"),
    (
        "mov rax, [0x123456789abcdef0]",
        "movabs rax, [0x123456789abcdef0]",
    ),
    ("mov [0x123456789abcdef0], al", "movabs [0x123456789abcdef0], al"),
    ("mov rcx, offset target", "mov rcx, offset target"),
    ("mov rcx, [rel target]", "mov rcx, [rip+target]"),
    ("lea r8, [rip+0x10]", "lea r8, [rip+0x10]"),
    ("lea eax, [eip+target]", "lea eax, [eip+target]"),
    ("xchg r8, rax", "xchg r8, rax"),
];
