//! Debug exceptions: breakpoints, general detect, DR6, INT1, and what MOV SS holds off.

super::requirements! {
    DEBUG:
    DBG_BP_001 "DBG-BP-001" Architectural
        "An instruction breakpoint raises #DB as a fault before the instruction at its linear address executes."
        "Intel SDM vol. 3B, \"Instruction-Breakpoint Exception Condition\"; AMD APM vol. 2, 13.1.3";
    DBG_BP_002 "DBG-BP-002" Architectural
        "While RF is set no instruction breakpoint is reported; it is set for one instruction."
        "Intel SDM vol. 3B, \"Instruction-Breakpoint Exception Condition\"; AMD APM vol. 2, 3.1.6 \"RFLAGS Register\"";
    DBG_BP_003 "DBG-BP-003" Architectural
        "The frame of a #DB holds RF as it was: nothing sets it for an instruction breakpoint, nor for general detect."
        "Intel SDM vol. 3B, \"Instruction-Breakpoint Exception Condition\"; AMD APM vol. 2, 8.2.2; for general detect Linux commit 5623f751bd9c, which reports it of hardware of both vendors";
    DBG_DATA_001 "DBG-DATA-001" Architectural
        "A data breakpoint raises #DB as a trap after the instruction that wrote (RW 01), or read or wrote (RW 11), any byte of its range."
        "Intel SDM vol. 3B, \"Data Memory and I/O Breakpoint Exception Conditions\"; AMD APM vol. 2, 13.1.3";
    DBG_DATA_002 "DBG-DATA-002" Architectural
        "The range of a data breakpoint is 1, 2, 8 or 4 bytes by its LEN, from the address with the low bits taken off."
        "Intel SDM vol. 3B, \"Breakpoint Field Recognition\"; AMD APM vol. 2, 13.1.1 \"Debug-Control Register (DR7)\"";
    DBG_DATA_003 "DBG-DATA-003" Architectural
        "The trap of a data breakpoint in a repeated string instruction comes between iterations, with the return address at the instruction."
        "Intel SDM vol. 3B, \"Data Memory and I/O Breakpoint Exception Conditions\"; AMD APM vol. 2, 13.1.3";
    DBG_DATA_004 "DBG-DATA-004" Vendor
        "Repeated MOVS and STOS may report a data breakpoint after later iterations."
        "Intel SDM vol. 3B, \"Data Memory and I/O Breakpoint Exception Conditions\" (fast-string operation)";
    DBG_IO_001 "DBG-IO-001" Architectural
        "With CR4.DE a breakpoint with RW 10 raises #DB as a trap after an IN or OUT that touches one of its ports."
        "Intel SDM vol. 3B, \"Data Memory and I/O Breakpoint Exception Conditions\"; AMD APM vol. 2, 13.1.3";
    DBG_ENABLE_001 "DBG-ENABLE-001" Architectural
        "A breakpoint is enabled by either of its bits L and G in DR7."
        "Intel SDM vol. 3B, \"Debug Control Register (DR7)\"; AMD APM vol. 2, 13.1.1 \"Debug-Control Register (DR7)\"";
    DBG_GD_001 "DBG-GD-001" Architectural
        "With DR7.GD set a MOV to or from a debug register raises #DB as a fault with DR6.BD set, and moves nothing."
        "Intel SDM vol. 3B, \"General-Detect Exception Condition\"; AMD APM vol. 2, 13.1.1 \"Debug-Control Register (DR7)\"";
    DBG_GD_002 "DBG-GD-002" Architectural
        "Delivery of #DB clears DR7.GD."
        "Intel SDM vol. 3B, \"Debug Control Register (DR7)\"; AMD APM vol. 2, 13.1.1 \"Debug-Control Register (DR7)\"";
    DBG_DR6_001 "DBG-DR6-001" Architectural
        "A debug exception sets bits of DR6 for its causes and never clears BD, BS and BT."
        "Intel SDM vol. 3B, \"Debug Status Register (DR6)\"; AMD APM vol. 2, 13.1.1 \"Debug-Status Register (DR6)\"";
    DBG_DR6_002 "DBG-DR6-002" Vendor
        "Bits B0 to B3 of an earlier exception may be cleared by a breakpoint or general detect; AMD updates them then."
        "Intel SDM vol. 3B, \"Debug Status Register (DR6)\"; AMD APM vol. 2, 13.1.1 \"Debug-Status Register (DR6)\"";
    DBG_DR6_003 "DBG-DR6-003" Architectural
        "Traps that one instruction causes are one #DB, and DR6 shows all of them."
        "Intel SDM vol. 3B, \"Debug Status Register (DR6)\"; AMD APM vol. 2, 13.1.1 \"Debug-Status Register (DR6)\"";
    DBG_DR6_004 "DBG-DR6-004" Vendor
        "With a single step B0 to B3 may also show conditions that are met but not enabled, and breakpoints at the next instruction, which is yet to execute."
        "Intel SDM vol. 3B, \"Debug Status Register (DR6)\" (a condition that was met when the exception was generated, enabled or not)";
    DBG_DR6_005 "DBG-DR6-005" Architectural
        "Bit 11 of DR6 is fixed to 1 unless CPUID reports debug exceptions for bus locks; then software can clear it, and a debug exception that is not for a bus lock leaves it as it is."
        "Intel SDM vol. 3B, \"Debug Status Register (DR6)\" (BLD); AMD APM vol. 2, 13.1.1 \"Debug-Status Register (DR6)\" (BLD)";
    DBG_DE_001 "DBG-DE-001" Architectural
        "DR4 and DR5 are other names of DR6 and DR7 unless CR4.DE is set, and then raise #UD."
        "Intel SDM vol. 3B, \"Debug Registers DR4 and DR5\"; AMD APM vol. 2, 13.1.1";
    DBG_SS_001 "DBG-SS-001" Architectural
        "A data breakpoint that MOV SS or POP SS meets is reported after the next instruction."
        "Intel SDM vol. 3A, \"Masking Exceptions and Interrupts When Switching Stacks\"; AMD APM vol. 2, 8.5.5; CVE-2018-8897";
    DBG_SS_002 "DBG-SS-002" Vendor
        "If the instruction after MOV SS or POP SS is INT n, INT3, INTO or SYSCALL, a trap that was held off interrupts the first instruction of the handler, at its privilege level."
        "Intel SDM vol. 3A, \"Masking Exceptions and Interrupts When Switching Stacks\"; CVE-2018-8897";
    DBG_SS_003 "DBG-SS-003" Vendor
        "Whether the single step of a MOV SS is lost or held off shows only if the next instruction ends stepping; nothing says which."
        "Intel SDM vol. 3A, \"Masking Exceptions and Interrupts When Switching Stacks\" and vol. 3C, \"Checks on Guest Non-Register State\" (pending debug exceptions)";
    DBG_SS_004 "DBG-SS-004" Vendor
        "Intel's processors report no instruction breakpoint at the instruction after MOV SS or POP SS, AMD's do."
        "Intel SDM vol. 3A, \"Masking Exceptions and Interrupts When Switching Stacks\"; Linux commit baf67ca8e545";
    DBG_SS_005 "DBG-SS-005" Vendor
        "If the instruction after MOV SS or POP SS is INT1, a trap that was held off is reported by the exception of INT1 itself or interrupts the first instruction of its handler."
        "Intel SDM vol. 3A, \"Masking Exceptions and Interrupts When Switching Stacks\", silent on INT1; kvm-unit-tests x86/debug.c expects one exception, and so has Bochs";
    DBG_INT1_001 "DBG-INT1-001" Architectural
        "INT1 raises #DB as a trap and sets no bit of DR6."
        "Intel SDM vol. 2, INT n/INTO/INT3/INT1; AMD APM vol. 2, 8.2.2";
    DBG_INT1_002 "DBG-INT1-002" Vendor
        "INT1 ignores the DPL of its gate, and a fault in its delivery has the EXT bit set."
        "Intel SDM vol. 2, INT n/INTO/INT3/INT1";
    DBG_INT1_003 "DBG-INT1-003" Vendor
        "Whether a fault in the delivery of INT1 reports the INT1 or the next instruction is not specified."
        "Intel SDM vol. 2, INT n/INTO/INT3/INT1 and vol. 3A, \"Exception Classifications\"; QEMU target/i386/tcg/excp_helper.c, helper_icebp";
}
