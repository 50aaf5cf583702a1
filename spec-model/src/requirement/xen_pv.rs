//! What a paravirtual guest of Xen can rely on.

super::requirements! {
    XEN_PV:
    XENPV_FRAME_001 "XENPV-FRAME-001" XenInterface
        "The frame of an exception has RCX and then R11 on top, above what the processor would push."
        "xen/include/public/arch-x86/xen-x86_64.h, comment before struct iret_context; Xen, create_bounce_frame";
    XENPV_FRAME_002 "XENPV-FRAME-002" XenInterface
        "Bits 39:32 of the frame's slot for CS hold the event mask as it was."
        "Xen, arch/x86/x86_64/entry.S, create_bounce_frame";
    XENPV_FRAME_003 "XENPV-FRAME-003" XenInterface
        "The vectors that push an error code on the processor have one in the frame, between R11 and RIP; no other frame has one."
        "Xen, arch/x86/pv/traps.c, pv_inject_event";
    XENPV_FRAME_004 "XENPV-FRAME-004" XenInterface
        "IF in the frame's RFLAGS is the inverse of the event mask, whatever the hardware's IF is."
        "Xen, arch/x86/x86_64/entry.S, create_bounce_frame";
    XENPV_FRAME_005 "XENPV-FRAME-005" XenInterface
        "The frame's CS has RPL 0 if the guest kernel was interrupted and RPL 3 if a program was, although both run at privilege level 3."
        "xen/include/public/arch-x86/xen-x86_64.h, HYPERVISOR_iret; Xen, create_bounce_frame";
    XENPV_FRAME_006 "XENPV-FRAME-006" XenInterface
        "Every frame holds RSP and SS, as in long mode."
        "xen/include/public/arch-x86/xen-x86_64.h; Xen, create_bounce_frame";
    XENPV_FRAME_007 "XENPV-FRAME-007" XenInterface
        "The error code of a page fault has the user bit clear if the guest kernel raised it, and set if a program did."
        "Xen, arch/x86/pv/traps.c, pv_inject_event";
    XENPV_FRAME_008 "XENPV-FRAME-008" XenInterface
        "The frame's RFLAGS has RF set where the processor set it for a fault, so also for an INT n that reaches the hypervisor as #GP."
        "Intel SDM vol. 3A, \"Resume Flag\"; Xen, arch/x86/traps.c, do_general_protection";
    XENPV_STACK_001 "XENPV-STACK-001" XenInterface
        "The frame of what interrupts the guest kernel goes onto the current stack."
        "Xen, arch/x86/x86_64/entry.S, create_bounce_frame";
    XENPV_STACK_002 "XENPV-STACK-002" XenInterface
        "The frame of what interrupts a program goes onto the stack that the stack_switch hypercall has set."
        "xen/include/public/xen.h, __HYPERVISOR_stack_switch; Xen, create_bounce_frame";
    XENPV_STACK_003 "XENPV-STACK-003" XenInterface
        "The frame starts at the stack pointer rounded down to a multiple of 16."
        "Xen, arch/x86/x86_64/entry.S, create_bounce_frame";
    XENPV_STACK_004 "XENPV-STACK-004" XenInterface
        "There is no IST for guests: the frame of a second event lies below the first on the same stack."
        "Xen, arch/x86/x86_64/entry.S, create_bounce_frame; struct trap_info has no such member";
    XENPV_EVENT_001 "XENPV-EVENT-001" XenInterface
        "An entry of the trap table with flag bit 2 masks events on entry, and one without leaves the mask as it was."
        "xen/include/public/arch-x86/xen.h, struct trap_info and TI_SET_IF";
    XENPV_ENTRY_001 "XENPV-ENTRY-001" XenInterface
        "A handler starts at privilege level 3 with Xen's flat selectors in CS and SS."
        "xen/include/public/arch-x86/xen-x86_64.h, FLAT_KERNEL_CS and FLAT_KERNEL_SS";
    XENPV_ENTRY_002 "XENPV-ENTRY-002" XenInterface
        "At the first instruction of a handler RCX is RIP and R11 is RFLAGS, because Xen enters with SYSRET."
        "Xen, arch/x86/x86_64/entry.S, create_bounce_frame and restore_all_guest";
    XENPV_ENTRY_003 "XENPV-ENTRY-003" XenInterface
        "A handler starts with AC, VM, RF, NT and TF clear, the other flags as they were, and the hardware's IF set."
        "Xen, arch/x86/x86_64/entry.S, create_bounce_frame";
    XENPV_TRAP_001 "XENPV-TRAP-001" XenInterface
        "An exception starts the handler that the trap table has for its vector."
        "xen/include/public/xen.h, __HYPERVISOR_set_trap_table; Xen, pv_inject_event";
    XENPV_TRAP_002 "XENPV-TRAP-002" XenInterface
        "INT n starts the handler if its entry's privilege level is 3, or at least 1 for the guest kernel; else it raises #GP with the vector in the error code."
        "xen/include/public/arch-x86/xen.h, struct trap_info; Xen, arch/x86/traps.c, permit_softint";
    XENPV_TRAP_003 "XENPV-TRAP-003" XenInterface
        "INT3 starts the handler of vector 3 with the next instruction as RIP, whatever privilege level its entry has."
        "Xen, arch/x86/traps.c, do_int3";
    XENPV_TRAP_004 "XENPV-TRAP-004" XenInterface
        "The address of a page fault is in the guest's CR2 (arch.cr2 of its vcpu_info)."
        "xen/include/public/arch-x86/xen-x86_64.h, struct arch_vcpu_info; Xen, arch_set_cr2";
    XENPV_TRAP_005 "XENPV-TRAP-005" XenInterface
        "INT 80h reaches its handler directly if the guest has set one: RF is clear in the frame."
        "Xen, arch/x86/x86_64/entry.S, int80_direct_trap";
    XENPV_TRAP_006 "XENPV-TRAP-006" XenInterface
        "The frame of an INT n that the trap table permits holds the address of the next instruction, whatever prefixes the INT n has."
        "Intel SDM vol. 2, INT n; Xen, arch/x86/pv/emul-priv-op.c, pv_emulate_sw_interrupt";
    XENPV_TRAP_007 "XENPV-TRAP-007" XenInterface
        "An INT 80h for which the guest has set no handler raises #GP with the vector in the error code at the INT 80h, whatever prefixes it has, with RF as it was."
        "Intel SDM vol. 2, INT n; Xen, arch/x86/x86_64/entry.S, int80_direct_trap (entry_int80 in 4.20)";
    XENPV_CR_001 "XENPV-CR-001" XenInterface
        "MOV in the guest kernel reads and writes the guest's CR2, which is arch.cr2 of its vcpu_info."
        "xen/include/public/arch-x86/xen-x86_64.h, struct arch_vcpu_info; Xen, arch/x86/pv/emul-priv-op.c, read_cr and write_cr";
    XENPV_CR_002 "XENPV-CR-002" XenInterface
        "MOV to CR4 in the guest kernel gives the guest DE of its own; bits that are not the guest's are ignored."
        "Xen, arch/x86/pv/domain.c, pv_fixup_guest_cr4";
    XENPV_CR_003 "XENPV-CR-003" XenInterface
        "MOV to CR0 that changes anything but TS, and MOV to and from CR8, raise #GP(0) in the guest kernel."
        "Xen, arch/x86/pv/emul-priv-op.c, write_cr and read_cr; Intel SDM vol. 2, MOV to and from control registers";
    XENPV_DEBUG_001 "XENPV-DEBUG-001" XenInterface
        "A debug exception starts the handler of vector 1, at the next instruction or, for an instruction breakpoint, at that one, and DR6 as the guest kernel reads it shows its causes: BS for a step, B0 to B3 for breakpoints."
        "Intel SDM vol. 3B, \"Debug Status Register (DR6)\"; Xen, arch/x86/traps.c, do_debug";
    XENPV_DEBUG_002 "XENPV-DEBUG-002" XenInterface
        "A debug exception leaves BD, BS and BT of earlier ones in the guest's DR6; B0 to B3 of earlier ones stay (Xen 4.17) or go (4.20)."
        "Intel SDM vol. 3B, \"Debug Status Register (DR6)\" (certain debug exceptions may clear bits 0-3, nothing clears the rest); Xen, do_debug and, in 4.20, x86_merge_dr6";
    XENPV_DEBUG_003 "XENPV-DEBUG-003" XenInterface
        "INT1 starts the handler of vector 1 with the next instruction as RIP, whatever privilege level its entry has, and sets no bit of the guest's DR6."
        "Intel SDM vol. 2, INT1; Xen, do_debug";
    XENPV_DEBUG_004 "XENPV-DEBUG-004" XenInterface
        "MOV in the guest kernel reads and writes DR0 to DR3, DR6 and DR7 of the guest, with the fixed bits of DR6 and DR7 as on a processor."
        "Intel SDM vol. 2, MOV to and from debug registers; Xen, x86emul_read_dr, x86emul_write_dr, set_debugreg";
    XENPV_DEBUG_005 "XENPV-DEBUG-005" XenInterface
        "DR6 and DR7 of the guest take no value with a bit of 63:32 set: MOV raises #GP(0), set_debugreg fails with EINVAL."
        "Intel SDM vol. 2, MOV to and from debug registers; Xen, set_debugreg";
    XENPV_DEBUG_006 "XENPV-DEBUG-006" XenInterface
        "A guest may not have GD in DR7, a breakpoint on a port in a DR7 that enables one while its CR4.DE is clear, nor an address in DR0 to DR3 that is not canonical or is in Xen's own range: MOV raises #GP(0), set_debugreg fails with EPERM, and the register stays."
        "Xen, arch/x86/pv/misc-hypercalls.c, set_debugreg; arch/x86/x86_emulate.c, x86emul_write_dr";
    XENPV_DEBUG_007 "XENPV-DEBUG-007" XenInterface
        "DR4 and DR5 are other names of DR6 and DR7 unless the guest has set CR4.DE, and then MOV raises #UD and set_debugreg fails with ENODEV."
        "Intel SDM vol. 3B, \"Debug Registers DR4 and DR5\"; Xen, set_debugreg and x86emul_read_dr";
    XENPV_DEBUG_008 "XENPV-DEBUG-008" XenInterface
        "The hypercalls set_debugreg and get_debugreg write and read what MOV does; set_debugreg fails with ENODEV for a number above 7."
        "xen/include/public/arch-x86/xen.h, HYPERVISOR_set_debugreg and HYPERVISOR_get_debugreg; Xen, do_set_debugreg";
    XENPV_DEBUG_009 "XENPV-DEBUG-009" XenInterface
        "get_debugreg returns EINVAL, negated, for a number above 7."
        "xen/include/public/arch-x86/xen.h, HYPERVISOR_get_debugreg";
    XENPV_DEBUG_010 "XENPV-DEBUG-010" XenInterface
        "What Xen itself accesses for the guest, a frame or an argument, raises no debug exception of the guest."
        "Xen, arch/x86/traps.c, do_debug: a #DB in the hypervisor is not the guest's";
    XENPV_DEBUG_011 "XENPV-DEBUG-011" XenInterface
        "MOV to or from a debug register in a program raises #GP(0)."
        "Intel SDM vol. 2, MOV to and from debug registers; Xen, x86_emulate with the privilege that read_segment says";
    XENPV_DEBUG_012 "XENPV-DEBUG-012" XenInterface
        "An instruction that Xen executes for the guest kernel is followed by a single step like any other."
        "Intel SDM vol. 3B, \"Single-Step Exception Condition\"; Xen, pv_emulate_privileged_op";
    XENPV_GS_001 "XENPV-GS-001" XenInterface
        "The kernel's GS base is in force whenever the guest kernel runs and that of programs when they do; Xen changes them on the way."
        "xen/include/public/arch-x86/xen-x86_64.h, SEGBASE_GS_KERNEL; Xen, toggle_guest_mode";
    XENPV_GS_002 "XENPV-GS-002" XenInterface
        "The set_segment_base hypercall sets the base of FS, the GS base of programs or that of the kernel."
        "xen/include/public/arch-x86/xen-x86_64.h, HYPERVISOR_set_segment_base";
    XENPV_CALL_001 "XENPV-CALL-001" XenInterface
        "SYSCALL in the guest kernel is a hypercall: its number and its result are in RAX, RCX and R11 are RIP and RFLAGS, and all else is as before but for XENPV-CALL-005."
        "xen/include/public/arch-x86/xen-x86_64.h, hypercall interface";
    XENPV_CALL_002 "XENPV-CALL-002" XenInterface
        "SYSCALL in a program starts the guest kernel's callback on the kernel stack, with the return address and RFLAGS in the slots of RCX and R11."
        "xen/include/public/arch-x86/xen-x86_64.h, CALLBACKTYPE_syscall; Xen, switch_to_kernel";
    XENPV_CALL_003 "XENPV-CALL-003" XenInterface
        "The set_trap_table hypercall replaces the entries of the vectors in its list and of no others."
        "xen/include/public/xen.h, __HYPERVISOR_set_trap_table; Xen, do_set_trap_table";
    XENPV_CALL_004 "XENPV-CALL-004" XenInterface
        "When SYSCALL in a program starts the callback, RFLAGS is what the interface promises."
        "Xen, arch/x86/x86_64/entry.S, switch_to_kernel";
    XENPV_CALL_005 "XENPV-CALL-005" XenInterface
        "Xen may break off the set_trap_table hypercall after any entry and let the guest repeat it from the next one, to which RDI then points."
        "xen/include/public/arch-x86/xen-x86_64.h, hypercall interface (argument registers are clobbered); Xen, do_set_trap_table and hypercall_create_continuation";
    XENPV_IRET_001 "XENPV-IRET-001" XenInterface
        "The iret hypercall loads RAX, R11, RCX, flags, RIP, CS, RFLAGS, RSP and SS from the stack."
        "xen/include/public/arch-x86/xen-x86_64.h, struct iret_context";
    XENPV_IRET_002 "XENPV-IRET-002" XenInterface
        "The iret hypercall goes to a program if RPL of the frame's CS is 3, and stays in the guest kernel otherwise."
        "xen/include/public/arch-x86/xen-x86_64.h, HYPERVISOR_iret; Xen, do_iret";
    XENPV_IRET_003 "XENPV-IRET-003" XenInterface
        "The iret hypercall makes the event mask the inverse of the frame's IF."
        "Xen, arch/x86/pv/iret.c, do_iret";
    XENPV_IRET_004 "XENPV-IRET-004" XenInterface
        "After the iret hypercall CS and SS have RPL 3, RFLAGS has IF set, and IOPL and VM are 0, whatever the frame said."
        "Xen, arch/x86/pv/iret.c, do_iret";
    XENPV_IRET_005 "XENPV-IRET-005" XenInterface
        "With VGCF_in_syscall in its flags the iret hypercall returns by SYSRET: RCX and R11 of the frame do not count."
        "xen/include/public/arch-x86/xen-x86_64.h, VGCF_IN_SYSCALL; Xen, do_iret";
    XENPV_IRET_006 "XENPV-IRET-006" XenInterface
        "A frame that the processor refuses makes Xen's own IRET fault, which the guest gets as an exception at the place it was to return to, with the frame's registers."
        "Xen, arch/x86/x86_64/entry.S, iret_exit_to_guest and its fixup";
    XENPV_IRET_007 "XENPV-IRET-007" XenInterface
        "An iret hypercall whose frame cannot be read ends the domain."
        "Xen, arch/x86/pv/iret.c, do_iret";
    XENPV_IRET_008 "XENPV-IRET-008" XenInterface
        "With TF in its frame the iret hypercall is followed by a step after the first instruction it returns to, and with RF by no instruction breakpoint there, as IRET is."
        "Intel SDM vol. 3B, \"Single-Step Exception Condition\" and vol. 3A, \"Resume Flag\"; Xen, arch/x86/x86_64/entry.S, iret_exit_to_guest";
    XENPV_PRIV_001 "XENPV-PRIV-001" XenInterface
        "SWAPGS, CLI and STI raise #GP(0) in the guest kernel, which runs at privilege level 3 without I/O privilege."
        "Intel SDM vol. 2, SWAPGS, CLI; Xen, arch/x86/pv/emul-priv-op.c";
    XENPV_CRASH_001 "XENPV-CRASH-001" XenInterface
        "A frame that cannot be written ends the domain: there is no double fault."
        "Xen, arch/x86/x86_64/entry.S, create_bounce_frame and domain_crash_page_fault";
    XENPV_CRASH_002 "XENPV-CRASH-002" XenInterface
        "An exception that the trap table has no handler for ends the domain."
        "Xen, arch/x86/x86_64/entry.S, create_bounce_frame";
}
