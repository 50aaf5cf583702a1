//! Single instructions: operands, addresses, order of checks.

super::requirements! {
    INSTRUCTIONS:
    INS_REG_001 "INS-REG-001" Architectural
        "With any REX prefix, byte registers 4 to 7 are SPL, BPL, SIL and DIL, and R8B to R15B can be named."
        "Intel SDM vol. 1, \"General-Purpose Registers in 64-Bit Mode\"; AMD APM vol. 3, \"REX Prefix\"";
    INS_ADDR_001 "INS-ADDR-001" Architectural
        "The address of a memory operand comes from the registers as they were before the instruction, also where the instruction changes one of them; only POP uses the stack pointer after it has moved."
        "Intel SDM vol. 2, XADD and POP; AMD APM vol. 3, XADD and POP";
    INS_ADDR_002 "INS-ADDR-002" Vendor
        "Where an operand in memory has two parts, the offset of the second wraps with the address size: the selector of a far pointer at FFFEh lies at 0."
        "Intel SDM vol. 1, \"Operand-Size and Address-Size Attributes\" (offsets of the address size), silent on the parts of an operand; seen on a captured 80286 and on an AMD processor of family 25";
    INS_RMW_001 "INS-RMW-001" Vendor
        "An instruction that reads and writes its memory operand checks that it can be written before it reads: a page fault reports a write, a segment that is not writable comes before the page, and a page that is only readable is not marked."
        "Intel SDM vol. 3A, \"Interrupt 14: Page-Fault Exception (#PF)\", and AMD APM vol. 2, 8.2.15, silent on instructions that do both; seen on an AMD processor of family 25";
    INS_SHIFT_001 "INS-SHIFT-001" Vendor
        "A shift or rotate by 0 leaves the flags, and still counts as writing its destination: a 32-bit register loses its upper half, and memory must be writable."
        "Intel SDM vol. 1, \"General-Purpose Registers in 64-Bit Mode\", and AMD APM vol. 3, SAL, silent on a count of 0; seen on an AMD processor of family 25";
    INS_CMPXCHG_001 "INS-CMPXCHG-001" Vendor
        "A CMPXCHG that fails leaves a destination register as it is, including the upper half, and writes memory with what it holds."
        "Intel SDM vol. 2, CMPXCHG, and AMD APM vol. 3, CMPXCHG (a write in any case, in memory); the upper half seen on an AMD processor of family 25";
    INS_STACK_001 "INS-STACK-001" Architectural
        "POP SS moves the stack pointer by the width of the stack that was popped from, whatever the new segment's is."
        "Intel SDM vol. 2, POP (the stack-address size is determined before SS is loaded); AMD APM vol. 3, POP";
    INS_RETF_001 "INS-RETF-001" Architectural
        "RETF with an immediate finds the outer stack pointer behind exactly that many bytes of parameters, and releases as many on the outer stack."
        "Intel SDM vol. 2, RET; AMD APM vol. 3, RET (Far)";
    INS_SEG_001 "INS-SEG-001" Architectural
        "64-bit code ignores CS, DS, ES and SS prefixes, so that they do not decide between #GP and #SS either."
        "Intel SDM vol. 1, \"Segmentation in 64-Bit Mode\"; AMD APM vol. 3, \"Segment-Override Prefixes\"";
    INS_TASK_001 "INS-TASK-001" Architectural
        "In long mode LTR and LLDT read 16 bytes, raise #GP with the selector unless all lie within the GDT, and load 64 bits of base."
        "Intel SDM vol. 3A, \"TSS Descriptor in 64-bit mode\" and vol. 2, LTR; AMD APM vol. 2, 4.8.3";
    INS_TASK_002 "INS-TASK-002" Vendor
        "LTR and LLDT raise #GP with the selector if the type in the upper half of the descriptor is not 0 or the base is not canonical."
        "Intel SDM vol. 2, LTR and LLDT (#GP(selector) in 64-bit mode); the base as kvm-unit-tests' la57 has it";
    INS_BRANCH_001 "INS-BRANCH-001" Vendor
        "66h before a near branch in 64-bit code does nothing on Intel's processors and makes it a branch with 16-bit operands on AMD's."
        "Intel SDM vol. 2, \"Instruction Prefixes\" and JMP; AMD APM vol. 3, \"Near Branches in 64-Bit Mode\"";
    INS_PUSH_001 "INS-PUSH-001" Vendor
        "PUSH of a segment register with a 32-bit operand writes the selector as 32 bits, or only its 16 bits into the slot."
        "Intel SDM vol. 2, PUSH; AMD APM vol. 3, PUSH";
    INS_PUSH_002 "INS-PUSH-002" Vendor
        "PUSHA in real mode with SP 7, 9, 11, 13 or 15 raises #GP or #SS, and writes nothing."
        "Intel SDM vol. 2, PUSHA (#GP); AMD APM vol. 3, PUSHA (#SS)";
    INS_PUSH_003 "INS-PUSH-003" Vendor
        "A PUSHA that faults in protected mode has or has not written the values before the one that faults; the stack pointer is as before."
        "no clause known; written on an AMD processor of family 25";
    INS_PUSH_004 "INS-PUSH-004" Vendor
        "PUSHA stores EAX first and EDI last, so that it reports the fault of the highest slot that it cannot write."
        "Intel SDM vol. 2, PUSHA/PUSHAD (the order in which the registers are stored); so does an AMD processor of family 25";
    INS_POP_001 "INS-POP-001" Vendor
        "A POPA that faults has or has not loaded the registers whose values lie below the one that faults; the stack pointer is as before."
        "Intel SDM vol. 3A, \"Exception Classifications\" (note on POPAD, whose fault loses registers); loaded on an AMD processor of family 25";
    INS_PORT_001 "INS-PORT-001" Vendor
        "Whether a repeated INS or OUTS with a count of 0 checks that the program may use the port is not specified."
        "no clause known; checked on an AMD processor of family 25";
    INS_PAUSE_001 "INS-PAUSE-001" Vendor
        "F3 90 with REX.B is PAUSE, or XCHG of R8 and the accumulator."
        "no clause known on the two prefixes together; XCHG on an AMD processor of family 25";
    INS_FAR_001 "INS-FAR-001" Vendor
        "With REX.W a far jump or call through memory takes a 64-bit offset on Intel's processors and a 32-bit one, as without the prefix, on AMD's."
        "Intel SDM vol. 2, CALL and JMP (m16:64); AMD APM vol. 3, JMP (Far) (the offset can only have 16 or 32 bits) and CALL (Far); seen on an AMD processor of family 25";
    INS_CALL_001 "INS-CALL-001" Vendor
        "Where both the target of a near CALL and its push are wrong, either fault is raised."
        "Intel SDM vol. 3A, \"Priority Among Concurrent Events\" (within a class it is up to the processor); that of the push on an AMD processor of family 25";
    INS_CALL_002 "INS-CALL-002" Vendor
        "A far CALL checks the offset in its target before or after the return address is in memory, and if it changes between 64-bit and compatibility mode pushes through the stack of the mode before or after."
        "Intel SDM vol. 2, CALL (checks first); AMD APM vol. 3, CALL (Far) (its pseudocode for real mode pushes first); pushed first on an AMD processor of family 25";
    INS_CALL_003 "INS-CALL-003" Architectural
        "A far CALL or JMP to an offset beyond the limit of its code segment raises #GP with error code 0."
        "Intel SDM vol. 2, CALL and JMP; AMD APM vol. 3, CALL (Far) and JMP (Far)";
    INS_RETURN_001 "INS-RETURN-001" Vendor
        "The order in which a far return or IRET reads the items of its frame is not specified; it shows in which of several faults is raised."
        "Intel SDM vol. 3A, \"Priority Among Concurrent Events\" (within a class it is up to the processor); downwards on an AMD processor of family 25";
    INS_RETURN_002 "INS-RETURN-002" Vendor
        "A far return or IRET in compatibility mode that stays at its privilege level and leads to 64-bit code moves the stack pointer within the width of the stack before, or in 64 bits."
        "no clause known; in 64 bits on an AMD processor of family 25";
    INS_CMPS_001 "INS-CMPS-001" Vendor
        "Which of its two items CMPS reads first is not specified; it shows if neither can be read."
        "Intel SDM vol. 2, CMPS, and AMD APM vol. 3, CMPS, are silent";
    INS_FAULT_001 "INS-FAULT-001" Architectural
        "An instruction that faults changes neither registers nor memory, but for CR2, accessed and dirty bits, the iterations that a repeated string instruction has completed, and what PUSHA and POPA may leave (INS-PUSH-003, INS-POP-001)."
        "Intel SDM vol. 3A, \"Exception Classifications\" and \"Restarting a Program or Task After an Exception\"; AMD APM vol. 2, 8.1.3";
    INS_LENGTH_001 "INS-LENGTH-001" Architectural
        "An instruction of more than 15 bytes raises #GP(0)."
        "Intel SDM vol. 3A, \"Interrupt 13: General Protection Exception (#GP)\"; AMD APM vol. 3, \"Instruction Length\"";
    INS_CPUID_001 "INS-CPUID-001" Architectural
        "CPUID, at any CPL, loads EAX, EBX, ECX and EDX and clears bits 63:32 of all four."
        "Intel SDM vol. 2, CPUID; AMD APM vol. 3, CPUID";
    INS_HYPERCALL_001 "INS-HYPERCALL-001" Vendor
        "Where there is no hypervisor to call, VMCALL and VMMCALL raise #UD, and change nothing."
        "Intel SDM vol. 3C, VMCALL (not in VMX operation: #UD); AMD APM vol. 3, VMMCALL (#UD unless intercepted), and appendix \"Opcode and Operand Encodings\" (VMCALL is none)";
    INS_HYPERCALL_002 "INS-HYPERCALL-002" KvmPolicy
        "KVM answers the hypercall instruction of the processor's vendor in RAX, with 0 to KVM_HC_VAPIC_POLL_IRQ and -KVM_ENOSYS to a number that it does not know, and changes no other register."
        "Linux Documentation/virt/kvm/x86/hypercalls.rst; include/uapi/linux/kvm_para.h; arch/x86/kvm/x86.c, kvm_emulate_hypercall";
    INS_HYPERCALL_003 "INS-HYPERCALL-003" KvmPolicy
        "KVM refuses every hypercall of a program at CPL above 0 with -KVM_EPERM in RAX."
        "Linux arch/x86/kvm/x86.c, kvm_emulate_hypercall";
    INS_HYPERCALL_004 "INS-HYPERCALL-004" KvmPolicy
        "Outside 64-bit mode a hypercall has the number in EAX, and the answer clears bits 63:32 of RAX."
        "Linux arch/x86/kvm/x86.c, kvm_emulate_hypercall";
    INS_HYPERCALL_005 "INS-HYPERCALL-005" KvmPolicy
        "KVM writes what its guests are to call it with over the other vendor's hypercall instruction, where that lies, at any CPL and as the program itself would write there, and the guest goes on with that."
        "Linux Documentation/virt/kvm/api.rst, KVM_CAP_DISABLE_QUIRKS2 (KVM_X86_QUIRK_FIX_HYPERCALL_INSN); Documentation/virt/kvm/x86/hypercalls.rst";
    INS_SET_002 "INS-SET-002" Vendor
        "UD0 and UD1 have or have not a ModRM byte, which shows if it cannot be fetched."
        "Intel SDM vol. 2, UD (UD0 differs between processors); none on an AMD processor of family 25";
    INS_SET_001 "INS-SET-001" Architectural
        "UD0, UD1, UD2 and opcodes that no manual defines raise #UD at their own address."
        "Intel SDM vol. 2, UD and appendix \"Opcode Map\"; AMD APM vol. 3, UD0, UD1, UD2";
}
