//! SYSCALL and SYSRET, SYSENTER and SYSEXIT.

super::requirements! {
    SYSTEM_CALLS:
    SYS_CALL_001 "SYS-CALL-001" Architectural
        "SYSCALL and SYSRET raise #UD if EFER.SCE is clear."
        "Intel SDM vol. 2, SYSCALL and SYSRET; AMD APM vol. 3, SYSCALL and SYSRET";
    SYS_CALL_002 "SYS-CALL-002" Architectural
        "SYSCALL clears the flags of SFMASK and RF and leaves RSP alone."
        "Intel SDM vol. 2, SYSCALL; AMD APM vol. 3, SYSCALL";
    SYS_CALL_003 "SYS-CALL-003" Architectural
        "SYSCALL at CPL 0 works like at CPL 3."
        "Intel SDM vol. 2, SYSCALL; AMD APM vol. 3, SYSCALL";
    SYS_CALL_004 "SYS-CALL-004" Vendor
        "Outside 64-bit mode SYSCALL raises #UD on Intel's processors; on AMD's it goes to CSTAR from compatibility mode and to STAR bits 31:0 from protected mode."
        "Intel SDM vol. 2, SYSCALL; AMD APM vol. 3, SYSCALL";
    SYS_RET_001 "SYS-RET-001" Architectural
        "SYSRET at CPL above 0 raises #GP(0)."
        "Intel SDM vol. 2, SYSRET; AMD APM vol. 3, SYSRET";
    SYS_RET_002 "SYS-RET-002" Architectural
        "SYSRET takes RFLAGS from R11 with RF and VM cleared."
        "Intel SDM vol. 2, SYSRET; AMD APM vol. 3, SYSRET";
    SYS_RET_003 "SYS-RET-003" Architectural
        "SYSRET without a 64-bit operand returns to compatibility mode, to ECX, with CS from STAR bits 63:48."
        "Intel SDM vol. 2, SYSRET; AMD APM vol. 3, SYSRET";
    SYS_RET_004 "SYS-RET-004" Vendor
        "SYSRET to a non-canonical address raises #GP(0) at CPL 0 on Intel's processors; on AMD's it completes, and the fetch raises #GP(0) at CPL 3."
        "Intel SDM vol. 2, SYSRET; AMD APM vol. 3, SYSRET; Xen XSA-7";
    SYS_ENTER_001 "SYS-ENTER-001" Vendor
        "In long mode, also in compatibility mode, SYSENTER and SYSEXIT raise #UD on AMD's processors; on Intel's they work."
        "AMD APM vol. 3, SYSENTER and SYSEXIT (legacy mode only); Intel SDM vol. 2, SYSENTER and SYSEXIT";
    SYS_ENTER_002 "SYS-ENTER-002" Architectural
        "SYSENTER loads CS with the selector in IA32_SYSENTER_CS and SS with the next one, both flat and of privilege level 0, EIP and ESP from their registers, and clears VM, IF and RF and leaves the other flags."
        "Intel SDM vol. 2, SYSENTER; AMD APM vol. 3, SYSENTER";
    SYS_ENTER_003 "SYS-ENTER-003" Architectural
        "SYSENTER and SYSEXIT raise #GP(0) in real mode, and if bits 15:2 of IA32_SYSENTER_CS are 0."
        "Intel SDM vol. 2, SYSENTER and SYSEXIT; AMD APM vol. 3, SYSENTER and SYSEXIT (a null selector)";
    SYS_EXIT_001 "SYS-EXIT-001" Architectural
        "SYSEXIT loads CS with the second selector behind that of IA32_SYSENTER_CS and SS with the third, both flat and of privilege level 3, EIP from EDX and ESP from ECX, and leaves the flags."
        "Intel SDM vol. 2, SYSEXIT; AMD APM vol. 3, SYSEXIT";
    SYS_EXIT_002 "SYS-EXIT-002" Architectural
        "SYSEXIT at CPL above 0 raises #GP(0)."
        "Intel SDM vol. 2, SYSEXIT; AMD APM vol. 3, SYSEXIT";
    SYS_STEP_001 "SYS-STEP-001" Architectural
        "A single-step trap follows SYSCALL if TF is still set after it, and not if SFMASK has cleared it."
        "AMD APM vol. 2, 13.1.4 \"Single Stepping\"; Intel SDM vol. 3B, \"Single-Step Exception Condition\"";
    SYS_STEP_002 "SYS-STEP-002" Architectural
        "A single-step trap follows SYSRET at once if the RFLAGS that it loads have TF set."
        "AMD APM vol. 2, 13.1.4 \"Single Stepping\"; Linux arch/x86/entry/syscall_64.c, do_syscall_64 (why it avoids SYSRET with TF)";
}
