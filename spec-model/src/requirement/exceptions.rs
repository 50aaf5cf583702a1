//! Delivery of exceptions and software interrupts.

super::requirements! {
    EXCEPTIONS:
    EXC_REAL_001 "EXC-REAL-001" Architectural
        "In real mode delivery pushes FLAGS, CS and IP as words, clears IF, TF and AC and loads CS:IP from the vector table at the IDTR base."
        "Intel SDM vol. 3B, \"Interrupt and Exception Handling\" in \"8086 Emulation\"; AMD APM vol. 2, 8.6";
    EXC_REAL_002 "EXC-REAL-002" Architectural
        "In real mode no error code is pushed."
        "Intel SDM vol. 3B, \"8086 Emulation\"; AMD APM vol. 2, 8.6";
    EXC_REAL_003 "EXC-REAL-003" Vendor
        "In real mode a vector whose entry lies beyond the IDTR limit raises #GP; if that too lies beyond it, #DF and then shutdown follow."
        "Intel SDM vol. 3B, \"8086 Emulation\"; vol. 3A, \"Interrupt 8: Double Fault Exception (#DF)\"";
    EXC_FRAME_001 "EXC-FRAME-001" Architectural
        "The return address of a fault is the faulting instruction; the return address of a trap or software interrupt is the next instruction."
        "Intel SDM vol. 3A, \"Exception Classifications\"; AMD APM vol. 2, 8.1.3";
    EXC_FRAME_002 "EXC-FRAME-002" Architectural
        "#DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP, #VC and #SX push an error code, the other exceptions and software interrupts do not."
        "Intel SDM vol. 3A, table \"Protected-Mode Exceptions and Interrupts\"; AMD APM vol. 2, 8.2";
    EXC_FRAME_003 "EXC-FRAME-003" Vendor
        "A fault pushes RFLAGS with RF set, but for the #DB of an instruction breakpoint."
        "Intel SDM vol. 3B, \"Instruction-Breakpoint Exception Condition\" and vol. 3A, \"System Flags and Fields in the EFLAGS Register\"";
    EXC_FRAME_004 "EXC-FRAME-004" Architectural
        "Delivery from an outer privilege level takes the stack from the TSS and pushes the old SS and SP."
        "Intel SDM vol. 3A, \"Exception- or Interrupt-Handler Procedures\"; AMD APM vol. 2, 8.7.3";
    EXC_FRAME_005 "EXC-FRAME-005" Architectural
        "In 64-bit mode delivery aligns the stack to 16 bytes and pushes SS, RSP, RFLAGS, CS and RIP always."
        "Intel SDM vol. 3A, \"64-Bit Mode Stack Frame\"; AMD APM vol. 2, 8.9.3";
    EXC_FRAME_006 "EXC-FRAME-006" Architectural
        "The frame holds the flags of the interrupted program and no others, whatever a hypervisor does to step over instructions."
        "Intel SDM vol. 3A, \"Exception- or Interrupt-Handler Procedures\"; AMD APM vol. 2, 8.9.3";
    EXC_GATE_001 "EXC-GATE-001" Vendor
        "A vector beyond the IDT limit raises #GP with error code vector*8+2, plus EXT for events that the program did not ask for."
        "Intel SDM vol. 3A, \"Error Code\" and INT n; AMD APM vol. 2, 8.4.1";
    EXC_GATE_002 "EXC-GATE-002" Architectural
        "A gate that is not present raises #NP with error code vector*8+2."
        "Intel SDM vol. 2, INT n; AMD APM vol. 2, 8.2.12";
    EXC_GATE_003 "EXC-GATE-003" Architectural
        "INT n and INT3 through a gate with DPL below CPL raise #GP with error code vector*8+2."
        "Intel SDM vol. 2, INT n; AMD APM vol. 2, 8.7.4";
    EXC_GATE_004 "EXC-GATE-004" Architectural
        "A gate of a type other than interrupt or trap gate (or, in protected mode, task gate) raises #GP."
        "Intel SDM vol. 2, INT n; AMD APM vol. 2, 8.9.1";
    EXC_GATE_005 "EXC-GATE-005" Architectural
        "An interrupt gate clears IF, a trap gate keeps it."
        "Intel SDM vol. 3A, \"Flag Usage By Exception- or Interrupt-Handler Procedure\"; AMD APM vol. 2, 8.7.1";
    EXC_DF_001 "EXC-DF-001" Architectural
        "A contributory exception during delivery of a contributory exception, and a page fault or contributory exception during delivery of a page fault, become #DF with error code 0."
        "Intel SDM vol. 3A, \"Interrupt 8: Double Fault Exception (#DF)\"; AMD APM vol. 2, 8.2.9";
    EXC_DF_002 "EXC-DF-002" Architectural
        "A fault during delivery of #DF shuts the processor down."
        "Intel SDM vol. 3A, \"Interrupt 8\"; AMD APM vol. 2, 8.2.9";
    EXC_DF_003 "EXC-DF-003" Vendor
        "A fault during delivery of a benign exception or of an interrupt is delivered in its place."
        "Intel SDM vol. 3A, table \"Conditions for Generating a Double Fault\"";
    EXC_PF_001 "EXC-PF-001" Architectural
        "#PF loads CR2 with the linear address and pushes an error code that says present, write, user, reserved bit and fetch."
        "Intel SDM vol. 3A, \"Interrupt 14: Page-Fault Exception (#PF)\"; AMD APM vol. 2, 8.2.15";
    EXC_PF_002 "EXC-PF-002" Architectural
        "A page walk sets the accessed bit of every entry it uses, and the dirty bit of the last one on a write."
        "Intel SDM vol. 3A, \"Accessed and Dirty Flags\"; AMD APM vol. 2, 5.4.2";
    EXC_PF_003 "EXC-PF-003" Vendor
        "Whether a page walk that faults has set the accessed bits of the entries above the one that faults is not specified."
        "Intel SDM vol. 3A, \"Accessed and Dirty Flags\"; AMD APM vol. 2, 5.4.2";
    EXC_SEG_001 "EXC-SEG-001" Architectural
        "Outside 64-bit mode an access beyond a segment limit raises #GP(0), through SS #SS(0)."
        "Intel SDM vol. 3A, \"Limit Checking\"; AMD APM vol. 2, 4.12.1";
    EXC_SEG_002 "EXC-SEG-002" Architectural
        "Loading a segment register checks the descriptor: #GP for a wrong type or privilege, #NP (for SS #SS) if it is not present."
        "Intel SDM vol. 3A, \"Loading Segment Registers\" and vol. 2, MOV; AMD APM vol. 2, 4.11";
    EXC_SEG_003 "EXC-SEG-003" Architectural
        "Loading a segment register sets the accessed bit of the descriptor in memory."
        "Intel SDM vol. 3A, \"Code- and Data-Segment Descriptor Types\"; AMD APM vol. 2, 4.7.2";
    EXC_SEG_004 "EXC-SEG-004" Architectural
        "In 64-bit mode an access to a non-canonical address raises #GP(0), or #SS(0) if its address begins with the stack or frame pointer, and leaves CR2 alone."
        "Intel SDM vol. 1, \"Canonical Addressing\"; AMD APM vol. 2, 8.2.13 and 8.2.14";
    EXC_FLAGS_001 "EXC-FLAGS-001" Architectural
        "Flags that an instruction leaves undefined may have any value."
        "Intel SDM vol. 1, appendix \"EFLAGS Cross-Reference\"; AMD APM vol. 3, instruction descriptions";
    EXC_FLAGS_002 "EXC-FLAGS-002" Architectural
        "Every instruction that completes clears RF, but for IRET and POPF, which load or clear it."
        "Intel SDM vol. 3B, \"Instruction-Breakpoint Exception Condition\"; AMD APM vol. 2, 3.1.6 \"RFLAGS Register\"";
    SEG_CACHE_001 "SEG-CACHE-001" Vendor
        "Whether a cached descriptor keeps G or derives it from the limit is not specified; only a state-save area shows it."
        "Linux arch/x86/kvm/svm/svm.c, svm_get_segment; Intel SDM vol. 3A, \"Segment Registers\" (hidden part)";
    SEG_CACHE_002 "SEG-CACHE-002" Vendor
        "What the hidden part of a segment register holds while it is unusable is not specified."
        "Intel SDM vol. 3A, \"Segment Registers\" (hidden part); AMD APM vol. 2, 4.5.3";
    SHADOW_KIND_001 "SHADOW-KIND-001" Vendor
        "Whether the shadows of STI and MOV SS can be told apart is not specified; AMD has one bit for both."
        "AMD APM vol. 2, 15.21.5 \"Interrupt Shadows\"; Intel SDM vol. 3C, \"Guest Non-Register State\"";
    EXC_UD_001 "EXC-UD-001" Architectural
        "UD2 raises #UD and reports its own address."
        "Intel SDM vol. 2, UD; AMD APM vol. 3, UD2";
    EXC_DE_001 "EXC-DE-001" Architectural
        "Division by zero or with an overflowing quotient raises #DE."
        "Intel SDM vol. 2, DIV; AMD APM vol. 3, DIV";
    EXC_BP_001 "EXC-BP-001" Architectural
        "INT3 raises #BP as a trap: the frame holds the address after it."
        "Intel SDM vol. 3A, \"Interrupt 3: Breakpoint Exception (#BP)\"; AMD APM vol. 2, 8.2.4";
    EXC_OF_001 "EXC-OF-001" Architectural
        "INTO raises #OF if OF is set, and does nothing otherwise; in 64-bit mode it raises #UD."
        "Intel SDM vol. 2, INT n/INTO; AMD APM vol. 3, INTO";
    EXC_SHADOW_001 "EXC-SHADOW-001" Architectural
        "STI that sets IF, MOV SS and POP SS hold off interrupts until the next instruction has completed."
        "Intel SDM vol. 2, STI and MOV; AMD APM vol. 3, STI and MOV";
    EXC_SHADOW_002 "EXC-SHADOW-002" Vendor
        "STI with IF already set makes no shadow."
        "Intel SDM vol. 2, STI";
    EXC_SHADOW_003 "EXC-SHADOW-003" Vendor
        "In a sequence of instructions that each start an interrupt shadow only the first is guaranteed to."
        "Intel SDM vol. 3A, \"Masking Exceptions and Interrupts When Switching Stacks\", and vol. 2, STI; AMD APM vol. 3, STI";
    EXC_IRET_001 "EXC-IRET-001" Architectural
        "IRET restores the interrupted program's CS, RIP, RFLAGS and, on a change of privilege and always in 64-bit mode, SS and RSP."
        "Intel SDM vol. 2, IRET; AMD APM vol. 3, IRET";
    EXC_IRET_002 "EXC-IRET-002" Architectural
        "IRET to a null CS raises #GP(0), to one of a wrong type or privilege #GP, and to one that is not present #NP, both with the selector as error code."
        "Intel SDM vol. 2, IRET; AMD APM vol. 3, IRET";
    EXC_IRET_003 "EXC-IRET-003" Architectural
        "IRETQ to a non-canonical RIP raises #GP(0)."
        "Intel SDM vol. 2, IRET; AMD APM vol. 3, IRET";
    EXC_SYS_001 "EXC-SYS-001" Architectural
        "SYSCALL saves RIP in RCX and RFLAGS in R11, loads CS and SS from STAR and clears the flags in SFMASK; SYSRET undoes it."
        "Intel SDM vol. 2, SYSCALL; AMD APM vol. 3, SYSCALL";
    EXC_SYS_002 "EXC-SYS-002" Architectural
        "SWAPGS exchanges the GS base with the KERNEL_GS_BASE MSR."
        "Intel SDM vol. 2, SWAPGS; AMD APM vol. 3, SWAPGS";
    EXC_PRIV_001 "EXC-PRIV-001" Architectural
        "A privileged instruction at CPL above 0 raises #GP(0)."
        "Intel SDM vol. 3A, \"Privileged Instructions\"; AMD APM vol. 2, 6";
    EXC_CR_001 "EXC-CR-001" Architectural
        "MOV to CR0, CR4 or EFER with an illegal value raises #GP(0) and changes nothing."
        "Intel SDM vol. 2, MOV Control Registers; AMD APM vol. 2, 3.1";
    EXC_CR_002 "EXC-CR-002" Architectural
        "MOV from CR3 or CR4 gives what the register was loaded with."
        "Intel SDM vol. 2, MOV Control Registers; AMD APM vol. 2, 3.1.3 \"CR4 Register\"";
    EXC_HLT_001 "EXC-HLT-001" Architectural
        "HLT stops execution at the next instruction until an event arrives."
        "Intel SDM vol. 2, HLT; AMD APM vol. 3, HLT";
    EXC_STEP_001 "EXC-STEP-001" Architectural
        "With TF set, an instruction that completes is followed by #DB with DR6.BS set, a repeated string instruction after each iteration."
        "Intel SDM vol. 3B, \"Single-Step Exception Condition\"; AMD APM vol. 2, 13.1.4 \"Single Stepping\"";
    EXC_STEP_002 "EXC-STEP-002" Architectural
        "MOV SS and POP SS are not followed by a single-step trap; the instruction after them is."
        "Intel SDM vol. 3A, \"Masking Exceptions and Interrupts When Switching Stacks\"; AMD APM vol. 2, 8.5.5";
    EXC_STEP_003 "EXC-STEP-003" Architectural
        "A single-step trap takes precedence over an NMI that is pending at the same instruction boundary, and the NMI then interrupts the first instruction of the trap's handler."
        "Intel SDM vol. 3A, \"Priority Among Concurrent Events\" (table); AMD APM vol. 2, table \"Simultaneous Interrupt Priorities\"";
    EXC_STEP_005 "EXC-STEP-005" Architectural
        "A single step of HLT wakes the processor: the trap reports the instruction behind it."
        "Intel SDM vol. 2, HLT (a debug exception resumes execution); AMD APM vol. 2, 13.1.1.4, and vol. 3, HLT";
    EXC_STEP_006 "EXC-STEP-006" Architectural
        "With BTF set in IA32_DEBUGCTL, a single-step trap follows only an instruction that has branched."
        "Intel SDM vol. 3B, \"Single-Stepping on Branches\"; AMD APM vol. 2, 13.1.6.2 \"Single Stepping Control Transfers\"";
    EXC_STEP_007 "EXC-STEP-007" Architectural
        "A debug exception clears BTF in IA32_DEBUGCTL."
        "Intel SDM vol. 3B, \"Single-Stepping on Branches\"; AMD APM vol. 2, 13.1.6.2 \"Single Stepping Control Transfers\"";
    EXC_IRET_004 "EXC-IRET-004" Architectural
        "IRET with NT set raises #GP(0) in long mode, and NT does not matter in real mode."
        "Intel SDM vol. 2, IRET; AMD APM vol. 3, IRET";
    EXC_STEP_004 "EXC-STEP-004" KvmPolicy
        "KVM_GET_VCPU_EVENTS reports a single-step trap that is yet to be delivered as a pending exception, and DR6 then has BS set already."
        "KVM API, 4.31 KVM_GET_VCPU_EVENTS and 7.11 KVM_CAP_EXCEPTION_PAYLOAD (not enabled)";
    EXC_FRAME_007 "EXC-FRAME-007" Vendor
        "A software interrupt that executes with RF set pushes it as it is, or clear."
        "Intel SDM vol. 3B, \"Instruction-Breakpoint Exception Condition\" (the value at the time the handler is called); clear on an AMD processor of family 25";
    EXC_SEG_005 "EXC-SEG-005" Vendor
        "Where the sum of an offset and the base of FS or GS is canonical, and the offset alone is not, the access is made or raises #GP(0)."
        "no clause known on the offset alone; #GP on an AMD processor of family 25";
    EXC_FLAGS_003 "EXC-FLAGS-003" Architectural
        "Between two iterations of a repeated string instruction RF is set."
        "Intel SDM vol. 3B, \"Instruction-Breakpoint Exception Condition\"; AMD APM vol. 2, 3.1.6 \"RFLAGS Register\"";
    EXC_IRET_012 "EXC-IRET-012" Architectural
        "IRET and RETF to 64-bit code outside privilege level 3 take a null SS, which is unusable then."
        "Intel SDM vol. 2, IRET and RET; AMD APM vol. 2, 8.9.6 and vol. 3, IRET";
    EXC_MSR_001 "EXC-MSR-001" Architectural
        "WRMSR of a non-canonical address to FS_BASE, GS_BASE, KERNEL_GS_BASE, LSTAR or CSTAR raises #GP(0)."
        "Intel SDM vol. 2, WRMSR; AMD APM vol. 3, WRMSR";
    EXC_CR_003 "EXC-CR-003" Architectural
        "MOV to DR6 or DR7 with a bit above bit 31 raises #GP(0)."
        "Intel SDM vol. 2, MOV Debug Registers; AMD APM vol. 3, MOV (DRn)";
    EXC_BP_002 "EXC-BP-002" Architectural
        "INT 3 as INT n with immediate 3 (CD 03) goes through the same vector and gate as INT3 (CC), and returns two bytes after its start."
        "Intel SDM vol. 2, INT n/INTO/INT3/INT1; AMD APM vol. 3, INT and INT 3";
    EXC_IRET_005 "EXC-IRET-005" Architectural
        "IRET changes IOPL at CPL 0 only, and IF only if CPL is within IOPL; what it may not change stays, without a fault."
        "Intel SDM vol. 2, IRET (RETURN-TO-SAME-PRIVILEGE-LEVEL); AMD APM vol. 3, IRET";
    EXC_IRET_006 "EXC-IRET-006" Architectural
        "IRET with a 16-bit operand leaves bits 31:16 of RFLAGS as they were and clears those of RIP."
        "Intel SDM vol. 2, IRET; AMD APM vol. 3, IRET";
    EXC_IRET_007 "EXC-IRET-007" Architectural
        "IRET to an outer privilege level checks SS: #GP(0) for a null selector, #GP with the selector for a wrong type or privilege, #SS with it if not present."
        "Intel SDM vol. 2, IRET (RETURN-TO-OUTER-PRIVILEGE-LEVEL); AMD APM vol. 3, IRET";
    EXC_IRET_008 "EXC-IRET-008" Architectural
        "IRET to an outer privilege level makes null the data segment registers that the program there may not use."
        "Intel SDM vol. 2, IRET (RETURN-TO-OUTER-PRIVILEGE-LEVEL); AMD APM vol. 3, IRET";
    EXC_IRET_009 "EXC-IRET-009" Architectural
        "IRET whose frame is not all within the stack segment raises #SS(0) and changes nothing."
        "Intel SDM vol. 2, IRET; AMD APM vol. 3, IRET";
    EXC_IRET_010 "EXC-IRET-010" Architectural
        "IRET to an address beyond the limit of CS raises #GP(0)."
        "Intel SDM vol. 2, IRET; AMD APM vol. 3, IRET";
    EXC_IRET_011 "EXC-IRET-011" Architectural
        "IRET to a stack segment with B clear loads SP; what bits 31:16 of ESP then hold, software must not rely on."
        "Intel SDM vol. 2, IRET; AMD APM vol. 3, IRET; Linux arch/x86/kernel/espfix_64.c (the bits that leak)";
    EXC_SHADOW_004 "EXC-SHADOW-004" Architectural
        "No interrupt shadow is in force when a handler starts."
        "Intel SDM vol. 3A, \"Masking Exceptions and Interrupts When Switching Stacks\"; AMD APM vol. 2, 15.21.5 \"Interrupt Shadows\"; Linux commit be45bc4eff33";
    EXC_GATE_006 "EXC-GATE-006" Vendor
        "In long mode a gate with a non-canonical address raises #GP with error code 0, plus EXT, before anything is pushed."
        "Intel SDM vol. 2, INT n; AMD APM vol. 3, INT";
    EXC_GATE_007 "EXC-GATE-007" Vendor
        "Bits 35 to 39 and 96 to 127 of a gate in long mode are ignored."
        "AMD APM vol. 2, 4.8.4 (IGN in figure \"Interrupt-Gate and Trap-Gate Descriptors, Long Mode\"); Intel SDM vol. 3A, figure \"64-Bit IDT Gate Descriptors\" (reserved)";
    EXC_STACK_001 "EXC-STACK-001" Vendor
        "In 64-bit mode a frame that would be pushed to a non-canonical address raises #SS with error code 0, plus EXT."
        "Intel SDM vol. 2, INT n, and vol. 3A, \"Interrupt 12: Stack Fault Exception (#SS)\"; AMD APM vol. 2, 8.2.13";
    EXC_GATE_008 "EXC-GATE-008" Architectural
        "A handler in conforming code runs at the privilege level that was interrupted; in other code it runs at the DPL of that code."
        "Intel SDM vol. 2, INT n, and vol. 3A, \"Protection of Exception- and Interrupt-Handler Procedures\"; AMD APM vol. 2, 8.7.4";
    EXC_GATE_010 "EXC-GATE-010" Architectural
        "A handler starts at the offset that all fields of its gate make up, at any byte; a 16-bit gate has 16 bits of it and pushes a frame of words."
        "Intel SDM vol. 3A, \"IDT Descriptors\" and vol. 2, INT n; AMD APM vol. 2, 4.8.4";
    EXC_STACK_002 "EXC-STACK-002" Architectural
        "Outside 64-bit mode a frame that does not fit within the limit of the stack segment raises #SS, with the selector of a new stack or 0, plus EXT."
        "Intel SDM vol. 2, INT n; AMD APM vol. 2, 8.2.13";
    EXC_CR_004 "EXC-CR-004" Architectural
        "MOV to CR8 with one of bits 63:4 set raises #GP(0)."
        "Intel SDM vol. 2, MOV (control registers); AMD APM vol. 2, 8.2.14 and 16.6.4";
    EXC_GATE_009 "EXC-GATE-009" Vendor
        "A gate with a null selector raises #GP with error code 0; one whose selector is beyond its table or names no code, code of an outer level or in long mode no 64-bit code raises #GP, and code that is not present #NP, with the selector as error code, plus EXT."
        "Intel SDM vol. 2, INT n; AMD APM vol. 2, 8.2.12 and 8.2.14, vol. 3, INT";
}
