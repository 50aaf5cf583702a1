//! Named ways to break one requirement.
//!
//! A defect is a switch in the model that is off. It serves three ends: a known
//! deviation of a target is a set of defects, a historic bug is a defect that the
//! cases must catch, and the suite's own strength is the share of defects it notices.

use std::fmt;

use crate::requirement::{self, Requirement};

macro_rules! defects {
    ($($variant:ident $name:literal $requirement:ident $sentence:literal;)*) => {
        /// One way to break a requirement.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Defect {
            $(#[doc = $sentence] $variant,)*
        }

        impl Defect {
            /// Every defect.
            pub const ALL: &'static [Defect] = &[$(Defect::$variant),*];

            /// Name on the command line and in deviation files.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What goes wrong, in one sentence.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }

            /// The requirement that it breaks.
            #[must_use]
            pub fn requirement(self) -> &'static Requirement {
                match self { $(Self::$variant => &requirement::$requirement,)* }
            }
        }
    };
}

defects! {
    TaskErrorCodeMissing "task-error-code-missing" TASK_GATE_002
        "No error code is pushed behind a task gate.";
    TaskNotSaved "task-not-saved" TASK_SAVE_001
        "A task switch saves nothing in the old task-state segment.";
    TaskSwitchKeepsRegisters "task-switch-keeps-registers" TASK_LOAD_001
        "A task switch leaves the general registers as they were.";
    TaskSwitchAlwaysLoadsCr3 "task-switch-always-loads-cr3" TASK_LOAD_002
        "A task switch loads CR3 without paging, too.";
    TaskSwitchUnmarked "task-switch-leaves-ts-clear" TASK_LOAD_003
        "A task switch leaves CR0.TS as it was.";
    TaskLinkMissing "task-link-missing" TASK_LINK_001
        "The link field of a nested task is not written.";
    NestedTaskFlagMissing "nested-task-flag-missing" TASK_LINK_001
        "NT of a nested task is as in its task-state segment.";
    NestedTaskReturnsByStack "nested-task-returns-by-stack" TASK_LINK_002
        "IRET with NT set returns by a frame on the stack outside long mode.";
    NewTaskStaysAvailable "new-task-stays-available" TASK_BUSY_001
        "A task that is switched to is not marked busy.";
    LeftTaskStaysBusy "left-task-stays-busy" TASK_BUSY_001
        "A task that a JMP or IRET leaves stays marked busy.";
    BusyTaskUnchecked "busy-task-unchecked" TASK_CHECK_001
        "Busy tasks can be switched to, and available ones returned to.";
    AbsentTaskIsTs "absent-task-is-ts" TASK_CHECK_002
        "A switch to a task that is not present raises #TS.";
    ShortTaskIsGp "short-task-is-gp" TASK_CHECK_003
        "A switch to a task with a limit that is too small raises #GP.";
    TaskTrapIgnored "task-trap-bit-ignored" TASK_DEBUG_001
        "T in a task-state segment has no effect.";
    TaskSwitchHidesBreakpoints "task-switch-hides-breakpoints" TASK_DEBUG_002
        "After a task switch DR7 reads with L0 to L3 as they were, which have no effect any more.";
    TaskSwitchKeepsBreakpoints "task-switch-keeps-breakpoints" TASK_DEBUG_002
        "A task switch leaves L0 to L3 in DR7.";
    TaskSwitchLosesShadowRoot "task-switch-loses-shadow-root" TASK_GATE_001
        "A task switch loads the CR3 of the new task in place of the shadow page tables, and the processor comes to no instruction of that task.";
    TaskGateIsInterruptGate "task-gate-is-interrupt-gate" TASK_GATE_001
        "A task gate is taken for a trap gate of 32 bits, and the task-state segment for its code.";
    TaskTransferRefused "task-transfer-refused" TASK_CALL_001
        "A far CALL or JMP to a task raises #GP with its selector.";
    BranchStepIgnored "branch-step-ignored" EXC_STEP_006
        "BTF in IA32_DEBUGCTL stays clear, whatever is written.";
    BranchStepStaysSet "branch-step-stays-set" EXC_STEP_007
        "A debug exception leaves BTF set in IA32_DEBUGCTL.";
    BusLockBitFixed "bus-lock-bit-fixed" DBG_DR6_005
        "Bit 11 of DR6 is always 1.";
    BusLockBitWritable "bus-lock-bit-writable" DBG_DR6_005
        "Bit 11 of DR6 can be cleared on a processor that reports no bus locks.";
    BusLockBitSetByOthers "bus-lock-bit-set-by-others" DBG_DR6_005
        "Every debug exception sets bit 11 of DR6.";
    MachineCheckControlTakesAnything "machine-check-control-takes-anything" MC_MSR_004
        "IA32_MCG_CTL and the control register of a bank take any value.";
    MachineCheckControlIgnored "machine-check-control-ignored" MC_MSR_005
        "A machine check is delivered although IA32_MCG_CTL or the control register of its bank disables it.";
    CpuidKeepsUpperHalves "cpuid-keeps-upper-halves" INS_CPUID_001
        "CPUID leaves bits 63:32 of the registers that it loads.";
    CpuidIsPrivileged "cpuid-is-privileged" INS_CPUID_001
        "CPUID raises #GP(0) at CPL above 0.";
    SysenterInLongMode "sysenter-in-long-mode" SYS_ENTER_001
        "SYSENTER and SYSEXIT work in long mode where they are to raise #UD.";
    SysenterGivesUpIn64BitMode "sysenter-gives-up-in-64-bit-mode" SYS_ENTER_001
        "SYSENTER in 64-bit mode at CPL 0, where it is to raise #UD, ends in KVM_EXIT_INTERNAL_ERROR.";
    SysexitIn64BitMode "sysexit-in-64-bit-mode" SYS_ENTER_001
        "SYSEXIT works in 64-bit mode where it is to raise #UD.";
    SysenterInCompatibilityMode "sysenter-in-compatibility-mode" SYS_ENTER_001
        "SYSENTER and SYSEXIT work in compatibility mode where they are to raise #UD, and SYSENTER loads CS with L and D set.";
    SysenterKeepsInterruptFlag "sysenter-keeps-if" SYS_ENTER_002
        "SYSENTER leaves IF.";
    SysenterClearsTf "sysenter-clears-tf" SYS_ENTER_002
        "SYSENTER clears TF.";
    SysenterTakesNull "sysenter-takes-null" SYS_ENTER_003
        "SYSENTER and SYSEXIT take a null selector in IA32_SYSENTER_CS.";
    SysenterTakesNullWithRpl "sysenter-takes-null-with-rpl" SYS_ENTER_003
        "SYSENTER and SYSEXIT take a null selector in IA32_SYSENTER_CS if its RPL is not 0.";
    SysexitLoadsNextSelectors "sysexit-loads-next-selectors" SYS_EXIT_001
        "SYSEXIT loads CS and SS with the selectors that lie before those that it is to load.";
    SysexitIgnoresPrivilege "sysexit-ignores-privilege" SYS_EXIT_002
        "SYSEXIT works at any CPL.";
    HypercallWithoutHypervisor "hypercall-without-hypervisor" INS_HYPERCALL_001
        "VMCALL and VMMCALL do nothing where there is no hypervisor to call.";
    HypercallUndefined "hypercall-undefined" INS_HYPERCALL_002
        "The hypercall instruction of the processor's vendor raises #UD.";
    UnknownHypercallSucceeds "unknown-hypercall-succeeds" INS_HYPERCALL_002
        "A hypercall with a number that KVM does not know is answered with 0.";
    HypercallPrivilegeUnchecked "hypercall-privilege-unchecked" INS_HYPERCALL_003
        "A hypercall at CPL above 0 is answered as one at CPL 0.";
    HypercallAlways64Bit "hypercall-always-64-bit" INS_HYPERCALL_004
        "Outside 64-bit mode, too, a hypercall has its number in RAX and the answer fills it.";
    ForeignHypercallUndefined "foreign-hypercall-undefined" INS_HYPERCALL_005
        "The other vendor's hypercall instruction raises #UD.";
    ForeignHypercallRewrittenAtRip "foreign-hypercall-rewritten-at-rip" INS_HYPERCALL_005
        "What replaces the other vendor's hypercall instruction is written to the linear address RIP, whatever the base of CS.";
    RewritingIsAnInstruction "hypercall-rewriting-is-an-instruction" EXC_STEP_001
        "The rewriting of a hypercall instruction ends a shadow, and a single-step trap follows it, before the hypercall is made.";
    ForeignHypercallIsPrivileged "foreign-hypercall-is-privileged" INS_HYPERCALL_005
        "The other vendor's hypercall instruction raises #GP(0) at CPL above 0.";
    PushAllWritesAsItGoes "push-all-writes-as-it-goes" INS_FAULT_001
        "PUSHA that faults has written the values before the one that faults.";
    PushAllFromTheLast "push-all-from-the-last" INS_PUSH_004
        "PUSHA writes its values from the lowest address upwards, and one that faults leaves what it has written.";
    FarPointerIsOneAccess "far-pointer-is-one-access" INS_ADDR_002
        "A far pointer in memory is read at once, and raises #GP where it wraps at the end of the segment.";
    SmmLimits64k "smm-limits-64k" SMM_RUN_001
        "In SMM the data segments have the limits of real mode, FFFFh.";
    IoInstructionNotRecorded "io-instruction-not-recorded" SMM_IO_001
        "The state-save area says that the SMI followed no I/O instruction.";
    StringEndsAtEvent "string-ends-at-event" SMM_STRING_001
        "A repeated string instruction that an SMI or NMI interrupts is not gone on with.";
    SmramOpenIgnored "smram-open-ignored" CHIPSET_SMRAM_003
        "D_OPEN has no effect.";
    SmramEnableIgnored "smram-enable-ignored" CHIPSET_SMRAM_006
        "With G_SMRAME clear the compatible window is DRAM in SMM.";
    SmiCountMissing "smi-count-missing" SMM_MSR_001
        "MSR 34h reads 0.";
    SmbaseMsrReadable "smbase-msr-readable" SMM_MSR_002
        "RDMSR of IA32_SMBASE gives SMBASE.";
    IllegalControlIgnored "illegal-control-ignored" EXC_CR_001
        "MOV to CR0 with an illegal value changes nothing and raises nothing.";
    X2apicMsrsInXapicMode "x2apic-msrs-in-xapic-mode" APIC_X2_001
        "The MSRs of x2APIC mode are there in xAPIC mode, too.";
    IntThreeIsOneByte "int-3-is-one-byte" EXC_BP_002
        "INT 3 as INT n with immediate 3 returns one byte after its start.";
    XenPvSyscallLeavesRcx "xen-pv-syscall-leaves-rcx" XENPV_CALL_002
        "SYSCALL in a program leaves the slots of RCX and R11 as the registers were.";
    RsmKeepsCr0 "rsm-keeps-cr0" SMM_SAVE_009
        "RSM leaves CR0 as the SMI handler had it.";
    RsmKeepsCr4 "rsm-keeps-cr4" SMM_SAVE_009
        "RSM leaves CR4 as the SMI handler had it.";
    RsmKeepsEfer "rsm-keeps-efer" SMM_SAVE_009
        "RSM leaves EFER as the SMI handler had it.";
    RsmKeepsDebug "rsm-keeps-debug-registers" SMM_SAVE_009
        "RSM leaves DR6 and DR7 as the SMI handler had them.";
    RsmKeepsFlags "rsm-keeps-flags" SMM_SAVE_008
        "RSM leaves RFLAGS as the SMI handler had them.";
    RsmTurnsPagingOff "rsm-turns-paging-off" SMM_RSM_010
        "RSM returns to the interrupted program with CR0.PG clear.";
    IretCodeErrorZero "iret-code-error-zero" EXC_IRET_002
        "The error code of an IRET that may not load CS is 0.";
    MmioAddressOfPage "mmio-address-of-page" S2_MMIO_001
        "An access to a page without a slot reaches the host with the address of the page.";
    MmioDataLost "mmio-data-lost" S2_MMIO_001
        "What a write to a page without a slot writes does not reach the host.";
    SingleStepIgnored "single-step-ignored" EXC_STEP_001
        "TF has no effect.";
    WriteNotLogged "write-not-logged" S2_DIRTY_001
        "A write of the guest does not mark its page in the dirty log.";
    ReadOnlyReadExits "read-only-read-exits" S2_RO_001
        "A read of a read-only slot reaches the host.";
    GuestWriteLost "guest-write-lost" S2_HOST_009
        "What the guest writes to memory is seen nowhere.";
    WalkSeesClosedSmram "walk-sees-closed-smram" CHIPSET_WALK_001
        "A page walk outside SMM sees SMRAM although it is closed.";
    GateBeyondLimitIsNp "gate-beyond-limit-is-np" EXC_GATE_001
        "A vector beyond the IDT limit raises #NP.";
    FaultFrameBehind "fault-frame-behind" EXC_FRAME_001
        "The return address of a fault is one byte behind the faulting instruction.";
    LongFrameWithoutStack "long-frame-without-stack" EXC_FRAME_005
        "In 64-bit mode delivery in the same privilege level pushes neither SS nor RSP.";
    FlagsKeptOnEntry "flags-kept-on-entry" SMM_ENTRY_006
        "Entering SMM leaves the arithmetic flags as they were.";
    Cr0ClearedOnEntry "cr0-cleared-on-entry" SMM_ENTRY_004
        "Entering SMM clears all of CR0 but ET.";
    Cr0EmulationKeptOnEntry "cr0-em-and-ts-kept-on-entry" SMM_ENTRY_004
        "Entering SMM leaves CR0.EM and CR0.TS as they were.";
    Dr7KeptOnEntry "dr7-kept-on-entry" SMM_ENTRY_007
        "Entering SMM leaves DR7 as it was.";
    EferKeptOnEntry "efer-lme-kept-on-entry" SMM_ENTRY_008
        "Entering SMM leaves EFER.LME as it was.";
    GdtrClearedOnEntry "gdtr-cleared-on-entry" SMM_ENTRY_009
        "Entering SMM clears GDTR.";
    Cr3ClearedOnEntry "cr3-cleared-on-entry" SMM_ENTRY_009
        "Entering SMM clears CR3.";
    GeneralClearedOnEntry "general-cleared-on-entry" SMM_ENTRY_009
        "Entering SMM clears RAX and RSP.";
    SmmCodeSelectorZero "smm-code-selector-zero" SMM_ENTRY_002
        "Entering SMM loads CS with the selector 0.";
    SaveAreaMisplaced "save-area-misplaced" SMM_SAVE_001
        "The state-save area is written 8 bytes below its place.";
    SaveAreaFormatFixed64 "save-area-format-always-64" SMM_SAVE_002
        "A processor without long mode, too, writes and reads the 64-bit format of the state-save area.";
    SaveAreaFormatFixed32 "save-area-format-always-32" SMM_SAVE_002
        "A processor with long mode, too, writes and reads the 32-bit format of the state-save area.";
    SaveArea64LimitInPages "save-area-64-limit-in-pages" SMM_SAVE_004
        "The 64-bit state-save area holds the limits of segments with G set in pages.";
    RevisionClaimsIoRestart "revision-claims-io-restart" SMM_SAVE_005
        "The SMM revision identifier has bit 16 set, and no I/O instruction is restarted.";
    RevisionWithoutRelocation "revision-without-relocation" SMM_FORMAT_005
        "The SMM revision identifier has bit 17 clear.";
    SmiLateByOne "smi-late-by-one" SMM_ENTRY_001
        "An SMI that is raised at a point is taken one instruction late.";
    SmmVectorsAtZero "smm-vectors-at-zero" SMM_RUN_002
        "Exceptions in SMM are delivered through the vector table at 0, whatever the handler loaded into IDTR.";
    RsmGoesOnBehindItself "rsm-goes-on-behind-itself" SMM_RSM_002
        "RSM leaves SMM and goes on at the offset behind itself.";
    RsmKeepsGeneral "rsm-keeps-general-registers" SMM_RSM_016
        "RSM leaves the general registers as the handler left them.";
    RsmLeavesEtClear "rsm-leaves-et-clear" SMM_RSM_015
        "RSM takes CR0.ET from the image.";
    RsmLoadsLma "rsm-loads-lma" SMM_IMAGE_002
        "RSM takes EFER.LMA from the image.";
    RsmLoadsFixedBits "rsm-loads-fixed-bits" SMM_IMAGE_003
        "RSM takes the fixed bits of RFLAGS, DR6 and DR7 from the image.";
    RsmClearsCr2 "rsm-clears-cr2" SMM_KEEP_002
        "RSM clears CR2 and DR0.";
    RsmHonoursReserved "rsm-takes-reserved-bytes" SMM_IMAGE_001
        "RSM shuts down if a reserved byte of the state-save area is not what entry wrote there, 0.";
    RsmAcceptsReservedCr4 "rsm-accepts-reserved-cr4" SMM_RSM_004
        "RSM ignores reserved bits of the CR4 image.";
    RsmAcceptsIllegalEfer "rsm-accepts-illegal-efer" SMM_RSM_005
        "RSM loads an illegal EFER image.";
    RsmAcceptsPcidAlone "rsm-accepts-pcid-without-long-mode" SMM_RSM_017
        "RSM loads a CR4 image with PCIDE set while long mode is not active.";
    RsmAcceptsVmxe "rsm-accepts-vmxe" SMM_IMAGE_005
        "RSM loads a CR4 image with VMXE set.";
    NmiNotBlockedByNmi "nmi-not-blocked-by-nmi" NMI_MASK_001
        "Delivery of an NMI does not block further NMIs.";
    OneNmiPending "one-nmi-pending" NMI_MASK_005
        "Of two NMIs that arrive while NMIs are not blocked one is lost.";
    NmiDroppedInSmm "nmi-dropped-in-smm" NMI_SMM_001
        "An NMI that arrives in SMM is lost.";
    NmiNeedsInterruptFlag "nmi-needs-interrupt-flag" NMI_MASK_006
        "NMIs are delivered only while RFLAGS.IF is set.";
    NmiDoesNotWakeHalted "nmi-does-not-wake-halted" NMI_MASK_009
        "An NMI does not wake a processor from HLT.";
    ExceptionsUnblockNmis "exceptions-unblock-nmis" NMI_MASK_010
        "Delivery of an exception or a software interrupt unblocks NMIs.";
    ErrorCodeInRealMode "error-code-in-real-mode" EXC_REAL_002
        "In real mode, too, an exception pushes its error code.";
    IretInSmmKeepsNmiMask "iret-in-smm-keeps-nmi-mask" NMI_SMM_003
        "IRET in SMM leaves NMIs blocked.";
    IretKeepsStack "iret-keeps-stack-pointer" EXC_IRET_001
        "IRET leaves RSP where the frame begins.";
    IretKeepsFlags "iret-keeps-flags" EXC_IRET_001
        "IRET leaves RFLAGS as they are.";
    Iret16ClearsUpperFlags "iret-16-clears-upper-flags" EXC_IRET_006
        "IRET with a 16-bit operand clears bits 31:16 of RFLAGS.";
    IretIgnoresNestedTask "iret-ignores-nested-task" EXC_IRET_004
        "IRET in long mode does not look at NT.";
    IretKeepsDataSegments "iret-keeps-data-segments" EXC_IRET_008
        "IRET to an outer privilege level leaves data segments that the program there may not use.";
    IretAcceptsNullStack "iret-accepts-null-stack" EXC_IRET_007
        "IRET to an outer privilege level loads a null SS.";
    IstZeroSwitches "ist-zero-switches" IST_002
        "A gate with IST 0 takes RSP0 of the TSS also if the privilege level does not change.";
    InnerStackOfNextLevel "inner-stack-of-next-level" IST_003
        "Delivery to an inner privilege level takes the stack pointer of the level above it.";
    IstNests "ist-nests" IST_004
        "An event on the IST entry whose stack is in use goes on below what is there.";
    IstBeyondLimitIsGp "ist-beyond-limit-is-gp" IST_007
        "An IST entry beyond the TSS limit raises #GP.";
    TaskStackNonCanonicalIsGp "task-stack-non-canonical-is-gp" IST_005
        "A non-canonical stack pointer from the TSS raises #GP.";
    InnerStackSegmentFlat "inner-stack-segment-flat" IST_006
        "On a change of privilege in long mode SS keeps its descriptor, with the privilege level of the handler.";
    AbsentGateIsGp "absent-gate-is-gp" EXC_GATE_002
        "A gate that is not present raises #GP.";
    WrongGateIsNp "wrong-gate-is-np" EXC_GATE_004
        "A gate of a type that is none raises #NP.";
    ErrorCodeMissing "error-code-missing" EXC_FRAME_002
        "Exceptions push no error code.";
    InnerFrameSwapped "inner-frame-swapped" EXC_FRAME_004
        "Delivery from an outer privilege level pushes the old SP before the old SS.";
    RealModeKeepsInterruptFlag "real-mode-keeps-interrupt-flag" EXC_REAL_001
        "Delivery in real mode leaves IF and TF as they were.";
    TripleFaultForgotten "fault-in-double-fault-forgotten" EXC_DF_002
        "A fault during delivery of #DF is forgotten, and the program goes on.";
    PageFaultLeavesCr2 "page-fault-leaves-cr2" EXC_PF_001
        "#PF does not load CR2.";
    RfClearBetweenIterations "rf-clear-between-iterations" EXC_FLAGS_003
        "Between two iterations of a repeated string instruction RF is as it was.";
    NmiBeforeTrap "nmi-before-trap" EXC_STEP_003
        "An NMI that is pending is delivered before a single-step trap.";
    InterruptBeforeNmi "interrupt-before-nmi" APIC_INT_008
        "An interrupt that is pending is delivered before an NMI.";
    StiShadowMissing "sti-shadow-missing" EXC_SHADOW_001
        "STI does not hold off interrupts.";
    StiAlwaysStartsShadow "sti-always-starts-shadow" EXC_SHADOW_002
        "STI starts an interrupt shadow although IF is set already.";
    SwapgsCopies "swapgs-copies" EXC_SYS_002
        "SWAPGS loads the GS base and leaves KERNEL_GS_BASE as it was.";
    SyscallLeavesR11 "syscall-leaves-r11" EXC_SYS_001
        "SYSCALL does not save RFLAGS in R11.";
    HltDoesNotStop "hlt-does-not-stop" EXC_HLT_001
        "HLT does nothing.";
    UndefinedOpcodeBehind "undefined-opcode-behind" EXC_UD_001
        "UD2 reports the address behind itself.";
    PrivilegeUnchecked "privilege-unchecked" EXC_PRIV_001
        "Privileged instructions are executed at any privilege level.";
    DebugUpperHalfIgnored "debug-upper-half-ignored" EXC_CR_003
        "MOV to DR6 or DR7 ignores bits 63:32.";
    DivideOverflowWraps "divide-by-zero-ignored" EXC_DE_001
        "Division by zero or with an overflowing quotient changes nothing.";
    SoftwareDisabledApicSendsNothing "software-disabled-apic-sends-nothing" APIC_DIS_003
        "A local APIC that software has disabled sends no IPI.";
    PhysicalDestinationIgnored "physical-destination-ignored" APIC_ICR_002
        "A message with a physical destination reaches every processor.";
    LogicalDestinationIgnored "logical-destination-ignored" APIC_ICR_003
        "A message with a logical destination reaches every processor.";
    BroadcastExcludesSender "broadcast-excludes-sender" APIC_ICR_005
        "The destination of all ones does not reach the sender.";
    IcrHighIgnored "icr-high-half-ignored" APIC_ICR_001
        "A write to the interrupt command register sends to the destination 0, whatever the high half says.";
    InterruptDoesNotWakeHalted "interrupt-does-not-wake-halted" APIC_INT_006
        "An interrupt does not wake a processor from HLT.";
    StartupVectorIgnored "startup-vector-ignored" INIT_SIPI_001
        "A startup IPI starts the processor at 0, whatever its vector.";
    BootstrapWaitsAfterInit "bootstrap-waits-after-init" INIT_SIPI_002
        "After INIT the bootstrap processor, too, waits for a startup IPI.";
    InitKeepsApic "init-keeps-apic" INIT_APIC_001
        "INIT leaves the local APIC as it was.";
    SignatureLostAtInit "signature-lost-at-init" INIT_STATE_004
        "INIT clears EDX.";
    MachineCheckPushesCode "machine-check-pushes-code" MC_EXC_001
        "The frame of a machine check holds an address one byte behind the next instruction.";
    MachineCheckStatusKept "machine-check-status-kept" MC_MSR_001
        "A write to IA32_MCG_STATUS changes nothing.";
    XenPvHandlerMissed "xen-pv-handler-of-next-vector" XENPV_TRAP_001
        "An exception starts the handler that the trap table has for the vector 6.";
    XenPvPageFaultLeavesCr2 "xen-pv-page-fault-leaves-cr2" XENPV_TRAP_004
        "The address of a page fault is not in the guest's CR2.";
    XenPvFaultFrameWithoutRf "xen-pv-fault-frame-without-rf" XENPV_FRAME_008
        "The frame's RFLAGS has RF clear for a fault.";
    XenPvKernelTakesKernelStack "xen-pv-kernel-takes-kernel-stack" XENPV_STACK_001
        "The frame of what interrupts the guest kernel goes onto the kernel stack from its top.";
    XenPvHandlerKeepsFlags "xen-pv-handler-keeps-flags" XENPV_ENTRY_003
        "A handler starts with AC, NT and TF as they were.";
    XenPvEntryKeepsRcx "xen-pv-entry-keeps-rcx" XENPV_ENTRY_002
        "A handler starts with RCX and R11 as they were.";
    XenPvHypercallKeepsRax "xen-pv-hypercall-keeps-rax" XENPV_CALL_001
        "A hypercall leaves its number in RAX.";
    XenPvTrapTableReplaced "xen-pv-trap-table-replaced" XENPV_CALL_003
        "The set_trap_table hypercall forgets the entries of the vectors that are not in its list.";
    XenPvIretLeavesRax "xen-pv-iret-leaves-rax" XENPV_IRET_001
        "The iret hypercall does not load RAX.";
    XenPvIretRaisesIopl "xen-pv-iret-raises-iopl" XENPV_IRET_004
        "The iret hypercall loads IOPL from the frame.";
    MovedSlotStays "moved-slot-stays" S2_SLOT_005
        "A slot that is given another guest address stays where it is.";
    SameSlotRefused "same-slot-refused" S2_SLOT_006
        "A slot request that changes nothing fails with EEXIST.";
    SlotSizeChanges "slot-change-accepted" S2_SLOT_003
        "A request that changes the size of a slot, its host address or whether it is read-only succeeds and changes nothing.";
    SharedWriteStaysPrivate "shared-write-stays-private" S2_HOST_003
        "A write to a shared mapping of a file does not reach the file.";
    LogNeverEnds "dirty-log-starts-full" S2_DIRTY_005
        "A dirty log begins with all pages when the slot gets the flag.";
    InitiallySetIgnored "initially-set-ignored" S2_DIRTY_004
        "With KVM_DIRTY_LOG_INITIALLY_SET a dirty log begins empty.";
    ManualLogClearedByRead "manual-log-cleared-by-read" S2_DIRTY_003
        "With manual protection, too, reading a dirty log clears it.";
    ClearRangeUnchecked "clear-range-unchecked" S2_DIRTY_007
        "A range of a dirty log may begin and end anywhere, and clearing it does nothing.";
    ReadOnlyCodeUnreachable "read-only-code-unreachable" S2_RO_003
        "Code in a read-only slot cannot be executed.";
    PageWithoutSlotIsEfault "page-without-slot-is-efault" S2_FETCH_001
        "A guest that executes a page without a slot makes KVM_RUN fail with EFAULT.";
    StringCopiesWhole "string-item-lost" S2_STRING_001
        "The first item of a repeated string instruction is not written.";
    UntouchedReadsOnes "untouched-memory-reads-ones" S2_HOST_001
        "Anonymous memory that was never written reads as ones.";
    AutoHaltSetByHandlerIgnored "auto-halt-set-by-handler-ignored" SMM_RSM_023
        "RSM enters HLT only if the SMI interrupted one, whatever the handler wrote into the auto-HALT restart field.";
    AutoHaltIgnored "auto-halt-ignored" SMM_RSM_008
        "An SMI in HLT leaves the auto-HALT restart field 0, and RSM goes on after the HLT.";
    RsmClearsNmiMask "rsm-clears-nmi-mask" NMI_SMM_002
        "RSM unblocks NMIs although the SMI interrupted an NMI handler.";
    SmiKeepsNmiMask "smi-keeps-nmi-mask" SMM_ENTRY_011
        "Entering SMM does not block NMIs.";
    IretKeepsNmiMask "iret-keeps-nmi-mask" NMI_MASK_002
        "IRET does not unblock NMIs.";
    FaultingIretKeepsNmiMask "faulting-iret-keeps-nmi-mask" NMI_MASK_003
        "An IRET that faults leaves NMIs blocked.";
    BlockedNmiWakesHalted "blocked-nmi-wakes-halted" NMI_MASK_011
        "With a local APIC, an NMI that arrives while NMIs are blocked wakes a processor from HLT.";
    NmiDroppedWhileMasked "nmi-dropped-while-masked" NMI_MASK_004
        "An NMI that arrives while NMIs are blocked is lost.";
    PendingNmisReportedAsOne "pending-nmis-reported-as-one" NMI_API_001
        "The host reads that an NMI is pending, but not how many are.";
    SmiDroppedInSmm "smi-dropped-in-smm" SMM_LATCH_001
        "An SMI that arrives in SMM is lost.";
    NmiBeforeSmi "nmi-before-smi" SMM_LATCH_002
        "Of an SMI and an NMI that are both pending, the NMI is delivered first.";
    ShadowLostAcrossSmm "shadow-lost-across-smm" SMM_SAVE_006
        "The state-save area does not hold the interrupt shadow, and RSM restores none.";
    IdtrKeptOnEntry "idtr-kept-on-entry" SMM_ENTRY_010
        "Entering SMM leaves IDTR as it was.";
    Cr4KeptOnEntry "cr4-kept-on-entry" SMM_ENTRY_005
        "Entering SMM leaves CR4 as it was.";
    DataLimitsKeptOnEntry "data-limits-kept-on-entry" SMM_ENTRY_003
        "Entering SMM leaves the data segment limits as they were.";
    SmbaseNotRelocated "smbase-not-relocated" SMM_RSM_006
        "RSM ignores SMBASE in the state-save area.";
    SmbaseAligned "smbase-aligned" SMM_RSM_007
        "RSM drops the low 15 bits of SMBASE.";
    RsmTruncatesRip "rsm-truncates-rip" SMM_RSM_011
        "RSM executed in 16- or 32-bit code drops bits 63:32 of RIP.";
    RsmRejectsPcid "rsm-rejects-pcid" SMM_RSM_012
        "RSM shuts down when the CR3 image holds a PCID.";
    RsmAcceptsIllegalImage "rsm-accepts-illegal-image" SMM_RSM_003
        "RSM loads an illegal CR0, CR4, EFER, DR6 or DR7 image instead of shutting down.";
    RsmReloadsAttributes "rsm-reloads-attributes" SMM_RSM_009
        "RSM restores selectors and bases, and gives every segment the access rights it would have in real mode.";
    RsmScalesLimits "rsm-scales-limits" SMM_RSM_009
        "RSM takes the low 20 bits of each saved limit and scales them by the saved G.";
    RsmFailureIsInternalError "rsm-failure-is-internal-error" SMM_RSM_019
        "An RSM that fails ends in KVM_EXIT_INTERNAL_ERROR instead of shutdown.";
    RsmDropsDebugUpperHalf "rsm-drops-debug-upper-half" SMM_RSM_013
        "RSM takes only the low 32 bits of the DR6 and DR7 images.";
    LongAnd32BitFailsEntry "rsm-long-and-32-bit-code-fails-entry" SMM_RSM_020
        "RSM loads a CS image with L and D set into long mode, and the processor cannot be entered then.";
    RsmKeepsVirtual8086 "rsm-keeps-virtual-8086" SMM_RSM_021
        "RSM loads RFLAGS.VM as the image has it, in real mode too.";
    RsmGivesUpOnVirtual8086 "rsm-gives-up-on-virtual-8086" SMM_RSM_021
        "RSM gives up with KVM_EXIT_INTERNAL_ERROR if the image has RFLAGS.VM in long mode.";
    RsmShutsDownOnVirtual8086 "rsm-shuts-down-on-virtual-8086" SMM_RSM_021
        "After RSM with RFLAGS.VM in an image of long mode the first instruction faults, and the processor shuts down.";
    RsmKeepsBases "rsm-keeps-bases" SMM_RSM_022
        "RSM does not make the bases of FS, GS, LDTR, TR and the descriptor tables canonical.";
    RsmKeepsUpperBases "rsm-keeps-upper-bases" SMM_RSM_022
        "RSM loads all 64 bits of the bases of CS, DS, ES and SS.";
    EmulatorMissesDataBreakpoints "emulator-misses-data-breakpoints" DBG_DATA_001
        "An instruction that accesses no memory but the host or the local APIC meets no data breakpoint.";
    HostWriteIsNotStepped "host-write-is-not-stepped" EXC_STEP_001
        "No single-step trap follows an instruction that writes where there is no memory.";
    EmulatedPopSsIsStepped "emulated-pop-ss-is-stepped" EXC_STEP_002
        "A single-step trap follows a POP SS whose stack is in the page of the local APIC.";
    FarCallLimitNamesSelector "far-call-limit-names-selector" INS_CALL_003
        "A far CALL to beyond the limit of its code segment raises #GP with the selector as error code.";
    WrmsrTakesNonCanonical "wrmsr-takes-non-canonical" EXC_MSR_001
        "WRMSR takes a non-canonical address.";
    X2apicReadsAnything "x2apic-reads-anything" APIC_X2_005
        "In x2APIC mode RDMSR of a register that cannot be read gives 0.";
    SharedLogicalIdentifierReachesLast "shared-logical-identifier-reaches-last" APIC_ICR_003
        "Of processors with one logical identifier only the last gets a message to it.";
    RsmOutsideSmmIgnored "rsm-outside-smm-ignored" SMM_RSM_001
        "RSM outside SMM does nothing.";
    SaveAreaAttributesShifted "save-area-attributes-shifted" SMM_SAVE_003
        "The 32-bit state-save area holds segment flags shifted right by 8, as QEMU TCG writes them.";
    SspLostAcrossSmm "ssp-lost-across-smm" SMM_SSP_001
        "The state-save area does not hold SSP, and RSM restores none.";
    SaveAreaKeepsReserved "save-area-keeps-reserved" SMM_SAVE_007
        "Reserved bytes of the state-save area keep what memory held.";
    IstIgnored "ist-ignored" IST_001
        "The IST field of a gate has no effect.";
    StackNotAligned "stack-not-aligned" EXC_FRAME_005
        "Delivery in 64-bit mode does not align the stack.";
    DoubleFaultSkipped "double-fault-skipped" EXC_DF_001
        "A contributory exception during delivery of another is delivered in its place instead of #DF.";
    SoftwareInterruptIgnoresDpl "software-interrupt-ignores-dpl" EXC_GATE_003
        "INT n and INT3 go through a gate whose DPL is below CPL.";
    ErrorCodeWithoutExt "error-code-without-ext" EXC_GATE_001
        "The EXT bit of error codes is never set.";
    TrapGateClearsInterruptFlag "trap-gate-clears-if" EXC_GATE_005
        "A trap gate clears IF.";
    AccessedBitNotSet "accessed-bit-not-set" EXC_PF_002
        "Page walks do not set accessed and dirty bits.";
    NmiLateAfterFaultingIret "nmi-late-after-faulting-iret" NMI_MASK_003
        "After an IRET that faults, NMIs stay blocked until the guest next exits to the hypervisor.";
    NmiAtEntryOnly "nmi-at-entry-only" NMI_MASK_004
        "An NMI is delivered only when the host enters the guest, not when a block or shadow ends in between.";
    RealModeVectorLimitIgnored "real-mode-vector-limit-ignored" EXC_REAL_003
        "In real mode the limit of the vector table is not checked.";
    DoubleFaultFrameSetsRf "double-fault-frame-sets-rf" EXC_FRAME_003
        "The frame of a double fault holds RFLAGS with RF set, as that of the first fault would have.";
    UndefinedOpcodeLeavesRf "undefined-opcode-leaves-rf" EXC_FRAME_003
        "#UD sets RF in RFLAGS itself, so that the frame of a double fault that its delivery ends in has RF set.";
    PageFaultLeavesRf "page-fault-leaves-rf" EXC_FRAME_003
        "#PF sets RF in RFLAGS itself, so that the frame of a double fault that its delivery ends in has RF set.";
    DoubleFaultKeepsCr2 "double-fault-keeps-cr2" EXC_PF_001
        "A page fault that becomes a double fault does not load CR2.";
    BenignNestedIsDoubleFault "benign-nested-is-double-fault" EXC_DF_003
        "A fault during delivery of a benign exception becomes a double fault.";
    ReadingEventsDropsNmi "reading-events-drops-nmi" NMI_API_002
        "Reading the event state while NMIs are blocked drops the second of two pending NMIs.";
    IretStepShowsTf "iret-step-shows-tf" EXC_FRAME_006
        "When an IRET faults while an NMI is held, the fault's frame holds RFLAGS with TF set.";
    IretStepLosesFlags "iret-step-loses-flags" EXC_FRAME_006
        "TF and RF that an IRET loads are clear behind it if an NMI is held.";
    FaultOfSoftwareInterruptBehind "fault-of-software-interrupt-behind" EXC_FRAME_001
        "A fault in the delivery of INT n, INT3 or INTO reports the next instruction if the hypervisor injected the event anew.";
    InjectedExceptionForgotten "injected-exception-forgotten" EXC_DF_001
        "A fault in the delivery of an exception that the hypervisor injected anew is delivered in its place, not as #DF or shutdown.";
    RfClearedByBranchesOnly "rf-cleared-by-branches-only" EXC_FLAGS_002
        "Only instructions that transfer control, repeated string instructions and HLT clear RF, IRET too if it was set.";
    EmulatedOutKeepsRf "emulated-out-keeps-rf" EXC_FLAGS_002
        "An OUT that the hypervisor completes does not clear RF.";
    NmiFrameSetsRf "nmi-frame-sets-rf" EXC_FRAME_003
        "The frame of an NMI or of an interrupt holds RFLAGS with RF set, as that of a fault.";
    FarTransferLeavesAccessedClear "far-transfer-leaves-accessed-clear" EXC_SEG_003
        "Far jumps, far calls, returns to an outer privilege level and event delivery do not set the accessed bit of descriptors.";
    DataAccessUnchecked "data-access-unchecked" EXC_SEG_001
        "Data accesses outside 64-bit mode are not checked against limit, type and presence of the segment.";
    IretNullStackUsable "iret-null-stack-usable" EXC_IRET_012
        "An IRET that loads a null SS gives it a flat, present descriptor.";
    IretAcceptsNonCanonical "iret-accepts-non-canonical" EXC_IRET_003
        "IRETQ loads a non-canonical RIP, and the fetch there faults, with the address in CR2.";
    PdpteMarkedAccessed "pdpte-marked-accessed" SMM_RSM_018
        "A page walk sets the accessed bit, which is reserved, in PAE's page-directory-pointer entries.";
    LockCanBeUndone "lock-can-be-undone" CHIPSET_LOCK_002
        "Registers that D_LCK makes read-only can still be written, D_LCK included.";
    LockLeavesOpen "lock-leaves-open" CHIPSET_LOCK_001
        "Setting D_LCK leaves D_OPEN set.";
    SmmHoleRemembered "smm-hole-remembered" CHIPSET_SMRAM_002
        "A page where a processor in SMM has just met no memory stays without memory for it when it becomes memory for SMM alone.";
    ClosedSmramReadable "closed-smram-readable" CHIPSET_SMRAM_001
        "A processor outside SMM sees SMRAM although it is closed.";
    SmramCloseIgnored "smram-close-ignored" CHIPSET_SMRAM_005
        "D_CLS has no effect.";
    HighSmramMissing "high-smram-missing" CHIPSET_HIGH_001
        "H_SMRAME has no effect.";
    TsegMissing "tseg-missing" CHIPSET_TSEG_001
        "T_EN has no effect: TSEG is memory like any other.";
    UnreadableTableIsNotPresent "unreadable-table-is-not-present" CHIPSET_WALK_001
        "A page walk that meets a table outside memory ends in #PF with P clear.";
    AccessAtPageTableEntry "access-at-page-table-entry" CHIPSET_WALK_001
        "A data access whose page walk meets an entry outside memory is made at the entry, if it has the same offset in its page.";
    DeliveryWithoutTablesRepeats "delivery-without-tables-repeats" EXC_DF_001
        "When delivery of an exception meets a page table outside memory, the hypervisor injects an exception again, for ever.";
    DeliveryWithoutTablesFails "delivery-without-tables-fails" EXC_DF_001
        "When delivery of an exception meets a page table outside memory, the run ends in KVM_EXIT_INTERNAL_ERROR (delivery).";
    EntryWithoutMemoryIsFatal "entry-without-memory-is-fatal" CHIPSET_ENTRY_001
        "An SMI whose state-save area lies outside memory makes KVM_RUN fail with EIO, for good.";
    UnreadableSaveAreaIsInternalError "unreadable-save-area-is-internal-error" SMM_RSM_019
        "An RSM whose state-save area lies outside memory ends in KVM_EXIT_INTERNAL_ERROR instead of shutdown.";
    RsmKeepsSmmAddressSpace "rsm-keeps-smm-address-space" SMM_RSM_018
        "RSM reads the page-directory-pointer entries of the interrupted program as a processor in SMM sees them.";
    SmramReadThroughLinearAddress "smram-read-through-linear-address" CHIPSET_RSM_002
        "RSM takes the address of the state-save area for a linear one and translates it.";
    SipiQueuedInSmm "sipi-queued-in-smm" INIT_SMM_003
        "A startup IPI that arrives in SMM is kept, and starts the processor after RSM and INIT.";
    InitResetsInSmm "init-resets-in-smm" INIT_SMM_001
        "An INIT that arrives in SMM is taken at once.";
    InitDroppedInSmm "init-dropped-in-smm" INIT_SMM_001
        "An INIT that arrives in SMM is lost.";
    InitLosesSmbase "init-loses-smbase" INIT_STATE_003
        "INIT sets SMBASE to its value after RESET.";
    InitDisablesCaches "init-disables-caches" INIT_STATE_002
        "INIT sets CR0.CD and CR0.NW.";
    InitKeepsTableBases "init-keeps-table-bases" INIT_STATE_005
        "INIT leaves the bases of GDTR and IDTR as they were.";
    InitKeepsCr3 "init-keeps-cr3" INIT_STATE_001
        "INIT leaves CR3 as it was.";
    InterruptAtEntryOnly "interrupt-at-entry-only" APIC_INT_004
        "An interrupt is delivered only when the host enters the guest, not when IF is set or a shadow ends in between.";
    InterruptNotInService "interrupt-not-in-service" APIC_INT_001
        "An interrupt that is delivered leaves IRR and does not appear in ISR.";
    SipiRestartsRunning "sipi-restarts-running" INIT_SIPI_003
        "A startup IPI restarts a processor that does not wait for one.";
    SmiDoesNotWakeHalted "smi-does-not-wake-halted" SMM_ENTRY_014
        "An SMI does not wake a processor from HLT.";
    SoftwareDisabledApicRefusesNmi "software-disabled-apic-refuses-nmi" APIC_DIS_002
        "A local APIC that software has disabled drops NMI, SMI, INIT and startup IPIs.";
    SoftwareDisabledApicAcceptsFixed "software-disabled-apic-accepts-fixed" APIC_DIS_001
        "A local APIC that software has disabled accepts fixed interrupts.";
    AllButSelfIncludesSelf "all-but-self-includes-self" APIC_ICR_004
        "The shorthand for all others includes the sender.";
    EndOfInterruptIgnored "end-of-interrupt-ignored" APIC_INT_003
        "A write to EOI leaves the interrupt in service.";
    InterruptInShadow "interrupt-in-shadow" APIC_INT_004
        "Interrupts are delivered in the shadow of STI and of MOV SS.";
    X2apicIcrReservedIgnored "x2apic-icr-reserved-ignored" APIC_X2_003
        "Reserved bits of the 64-bit interrupt command register can be written.";
    MovSsShadowMissing "mov-ss-shadow-missing" NMI_MASK_007
        "MOV SS and POP SS do not hold off NMIs.";
    NmiLateBehindSkipped "nmi-late-behind-skipped" EXC_SHADOW_001
        "An NMI that a shadow held is delivered late if the hypervisor executed the instruction in the shadow: behind the next one that the processor executes itself, or when the host looks at the events.";
    RestoreMergesNmis "restore-merges-nmis" STATE_002
        "When the host reads and puts back the event state at a point, two pending NMIs become one.";
    RestoreDropsSmi "restore-drops-smi" STATE_003
        "When the host reads and puts back the event state at a point, a pending SMI is lost.";
    RestoreRefusesSmiInWaitForSipi "restore-refuses-smi-in-wait-for-sipi" STATE_003
        "The event state of a processor that waits for a startup IPI cannot be put back with a pending SMI, which is lost.";
    RestoreDropsInsideNmi "restore-drops-inside-nmi" STATE_004
        "When the host reads and puts back the event state at a point, it is forgotten that SMM interrupted an NMI handler.";
    RestoreDropsShadow "restore-drops-shadow" STATE_005
        "When the host reads and puts back the event state at a point, the interrupt shadow is lost.";
    ShadowKeptOnEntry "shadow-kept-on-entry" SMM_ENTRY_013
        "Entering SMM leaves the interrupt shadow in force, and with it the hardware refuses to enter the guest.";
    RsmDropsControlUpperHalf "rsm-drops-control-upper-half" SMM_RSM_003
        "RSM takes only the low 32 bits of the CR0 and CR4 images.";
    RsmCr3FailsEntry "rsm-cr3-fails-entry" SMM_IMAGE_004
        "RSM loads a CR3 image with bits beyond the physical addresses, and the hardware refuses to enter the guest.";
    RsmFailureButCr3IsInternalError "rsm-failure-but-cr3-is-internal-error" SMM_RSM_019
        "The hypervisor gives up when RSM fails, unless it is for bits of CR3 beyond the physical addresses.";
    RsmLoadsSixteenRegisters "rsm-32-loads-16-registers" SMM_SAVE_008
        "RSM from the 32-bit format loads R8 to R11 from the words behind EDI.";
    RsmKeepsNmiMask "rsm-keeps-nmi-mask" NMI_SMM_005
        "RSM leaves the NMI mask as it was in SMM.";
    RsmRejects64BitCode "rsm-rejects-64-bit-code" SMM_RSM_010
        "RSM shuts down when the image is one of 64-bit code.";
    SmbaseGatedByRevision "smbase-gated-by-revision" SMM_RSM_014
        "RSM takes SMBASE from the image only if the revision identifier there has bit 17.";
    RsmKeepsCr3 "rsm-keeps-cr3" SMM_SAVE_009
        "RSM leaves CR3 as the SMI handler had it.";
    RsmDropsSelectors "rsm-drops-selectors" SMM_RSM_009
        "RSM restores the descriptor caches of the segment registers, but not their selectors.";
    EferClearedWithoutLongMode "efer-cleared-without-long-mode" SMM_KEEP_001
        "Entering SMM clears EFER although the 32-bit format cannot bring it back.";
    SaveAreaUpperHalvesStale "save-area-upper-halves-stale" SMM_SAVE_009
        "The 64-bit format gets only the low 32 bits of RFLAGS, DR6, DR7, CR0 and CR4; the rest is what memory held.";
    RepeatIsOneStep "repeat-is-one-step" EXC_STEP_001
        "With TF set a repeated string instruction traps only when it is done.";
    SingleStepAfterMovSs "single-step-after-mov-ss" EXC_STEP_002
        "A single-step trap follows MOV SS.";
    SteppedStringEndsLate "stepped-string-ends-late" EXC_STEP_001
        "With TF set the last iteration of a repeated string instruction and its end are two steps.";
    ReturnStackNotPresentIsNp "return-stack-not-present-is-np" EXC_SEG_002
        "IRET and RETF raise #NP instead of #SS if the stack segment they load is not present.";
    DebugTrapBeforeSmi "debug-trap-before-smi" SMM_LATCH_003
        "Of an SMI and a single-step trap that are both pending, the trap is delivered first.";
    Cr3ReadShowsShadowRoot "cr3-read-shows-shadow-root" EXC_CR_002
        "MOV from CR3 gives the root of the hypervisor's page tables while CR0 has what the hypervisor needs: paging and WP, and neither CD nor NW.";
    Cr4ReadShowsHostMce "cr4-read-shows-host-mce" EXC_CR_002
        "MOV from CR4 gives the CR4 that the hypervisor runs the guest with, in which MCE is set, unless CR0 has CD or NW set.";
    RsmKeepsInsideNmi "rsm-keeps-inside-nmi" NMI_SMM_005
        "RSM does not forget that the SMI interrupted an NMI handler.";
    RestoreDropsInit "restore-drops-init" INIT_SMM_001
        "When the host reads and puts back the event state at a point, a latched INIT is lost.";
    BroadcastSmiReachesOne "broadcast-smi-reaches-one" APIC_ICR_004
        "An SMI that is sent to all others reaches the first of them only.";
    RsmClosesSmramFirst "rsm-closes-smram-first" CHIPSET_RSM_002
        "RSM reads the state-save area as a processor outside SMM sees memory.";
    SvmeClearedOnEntry "svme-cleared-on-entry" SMM_EFER_001
        "Entering SMM clears EFER.SVME where the processor keeps it.";
    RestoreLosesPdptes "restore-loses-pdptes" STATE_001
        "A new virtual machine does not take page-directory-pointer entries with a reserved bit, and the hypervisor then cannot read the HLT that it steps over and the instructions that it emulates.";
    LongModeWalkKept "long-mode-walk-kept" STATE_001
        "After the host has taken a processor from long mode to PAE paging with the same CR0 and CR4, the hypervisor's own page walk goes on as in long mode and cannot read the HLT that it steps over and the instructions that it emulates.";
    InstructionBreakpointIsTrap "instruction-breakpoint-is-trap" DBG_BP_001
        "An instruction breakpoint is reported after the instruction.";
    RfIgnoredByBreakpoints "rf-ignored-by-breakpoints" DBG_BP_002
        "An instruction breakpoint is reported although RF is set.";
    DebugFrameSetsRf "debug-frame-sets-rf" DBG_BP_003
        "The frame of a #DB holds RFLAGS with RF set.";
    DataBreakpointsMissing "data-breakpoints-missing" DBG_DATA_001
        "Data breakpoints have no effect.";
    DataBreakpointLengthIgnored "data-breakpoint-length-ignored" DBG_DATA_002
        "A data breakpoint covers one byte whatever its length.";
    DataBreakpointNotAligned "data-breakpoint-not-aligned" DBG_DATA_002
        "A data breakpoint begins at its address, low bits and all.";
    OneDataBreakpointReported "one-data-breakpoint-reported" DBG_DR6_003
        "Of the data breakpoints that an instruction meets, DR6 shows the first only.";
    DataBreakpointAfterRepeat "data-breakpoint-after-repeat" DBG_DATA_003
        "A repeated string instruction that meets a data breakpoint runs to its end first.";
    PortBreakpointsMissing "port-breakpoints-missing" DBG_IO_001
        "Breakpoints at ports have no effect.";
    GeneralDetectIsTrap "general-detect-is-trap" DBG_GD_001
        "With DR7.GD set a MOV to or from a debug register is executed before the #DB.";
    GeneralDetectStaysSet "general-detect-stays-set" DBG_GD_002
        "Delivery of #DB leaves DR7.GD set.";
    Dr6Overwritten "dr6-overwritten" DBG_DR6_001
        "A debug exception leaves in DR6 its own causes and nothing else.";
    BreakpointHidesStep "breakpoint-hides-step" DBG_DR6_003
        "When a breakpoint and a single step coincide, DR6 shows the breakpoint only.";
    Dr4AlwaysAlias "dr4-always-alias" DBG_DE_001
        "DR4 and DR5 are DR6 and DR7 although CR4.DE is set.";
    MovSsDoesNotHoldTraps "mov-ss-does-not-hold-traps" DBG_SS_001
        "A data breakpoint that MOV SS meets is reported right after it.";
    HeldTrapLostAtInterrupt "held-trap-lost-at-interrupt" DBG_SS_002
        "A debug trap that MOV SS held off is lost if INT n, INT1, INT3, INTO or SYSCALL follows.";
    HeldTrapTakenForInt1 "held-trap-taken-for-int1" DBG_SS_001
        "A debug trap that MOV SS held off is taken for INT1, and the return address is a byte further on.";
    Int1IsFault "int1-is-fault" DBG_INT1_001
        "The frame of INT1 holds the address of INT1 itself.";
    Int1ReportsStep "int1-reports-step" DBG_INT1_001
        "INT1 sets DR6.BS.";
    Int1ChecksDpl "int1-checks-dpl" DBG_INT1_002
        "INT1 is checked against the DPL of its gate, and a fault in its delivery has EXT clear.";
    SoftwareInterruptRetried "software-interrupt-retried" EXC_BP_001
        "The frame of INT n, INT3 and INTO holds the address of the instruction itself, which is executed again.";
    InjectionStartsShadow "injection-starts-shadow" EXC_SHADOW_004
        "A handler that the hypervisor entered by injecting an event starts in an interrupt shadow.";
    StepAfterStiFailsEntry "step-after-sti-fails-entry" EXC_STEP_001
        "A single-step trap after an STI that sets IF makes the entry to the guest fail.";
    SyscallStepsByOldTf "syscall-steps-by-old-tf" SYS_STEP_001
        "Whether a single-step trap follows SYSCALL or SYSRET depends on TF before it.";
    SyscallIgnoresMask "syscall-ignores-mask" SYS_CALL_002
        "SYSCALL clears no flag but RF.";
    SyscallAlwaysEnabled "syscall-always-enabled" SYS_CALL_001
        "SYSCALL and SYSRET work although EFER.SCE is clear.";
    SysretIgnoresPrivilege "sysret-ignores-privilege" SYS_RET_001
        "SYSRET works at CPL 3.";
    SysretLoadsRf "sysret-loads-rf" SYS_RET_002
        "SYSRET loads RF.";
    IretIgnoresPrivilege "iret-ignores-privilege" EXC_IRET_005
        "IRET loads IF and IOPL at any privilege level.";
    ApicOffGoesStraightToX2apic "apic-off-goes-straight-to-x2apic" APIC_BASE_001
        "A local APIC that is off can be turned on in x2APIC mode.";
    ApicOffGetsMessages "apic-off-gets-messages" APIC_BASE_003
        "A local APIC that is off in IA32_APIC_BASE gets what is sent to all others.";
    AccessAfterEventFails "access-after-event-fails" APIC_PAGE_001
        "An access to the page of a local APIC ends in KVM_EXIT_INTERNAL_ERROR (delivery) if nothing has left the guest since an NMI or exception was injected.";
    MachineCheckIgnoresMcip "machine-check-ignores-mcip" MC_EXC_002
        "A machine check while another is in progress is delivered instead of shutting the processor down.";
    MachineCheckLeavesMcipClear "machine-check-leaves-mcip-clear" MC_EXC_002
        "A machine check does not set MCIP.";
    MachineCheckIgnoredWithoutMce "machine-check-ignored-without-mce" MC_EXC_003
        "A machine check with CR4.MCE clear has no effect.";
    MachineCheckHeldWithNmis "machine-check-held-with-nmis" MC_EXC_004
        "Machine checks wait while NMIs are blocked.";
    MachineCheckHeldByShadow "machine-check-held-by-shadow" MC_EXC_004
        "The interrupt shadow holds machine checks off.";
    MachineCheckBlocksNmis "machine-check-blocks-nmis" MC_EXC_004
        "Delivery of a machine check blocks NMIs.";
    MachineCheckAfterOthers "machine-check-after-others" MC_EXC_005
        "Of a machine check and an SMI or NMI that are both pending, the machine check is delivered last.";
    MachineCheckIsContributory "machine-check-is-contributory" MC_EXC_006
        "A fault during delivery of a machine check ends in a double fault.";
    MachineCheckDoesNotWakeHalted "machine-check-does-not-wake-halted" MC_EXC_007
        "A machine check does not wake a processor from HLT.";
    MachineCheckStatusTakesAnything "machine-check-status-takes-anything" MC_MSR_002
        "WRMSR stores any value in the status register of a bank.";
    MachineCheckStatusWriteIsFatal "machine-check-status-write-is-fatal" MC_MSR_002
        "WRMSR of another value than 0 to the status register of a bank makes KVM_RUN fail with EPERM instead of raising #GP.";
    MachineCheckOverflowMissing "machine-check-overflow-missing" MC_MSR_003
        "A second error in a bank that holds one does not set the overflow bit.";
    MachineCheckShutdownSleeps "machine-check-shutdown-sleeps" MC_EXC_007
        "A machine check that is to shut a halted processor down does not wake it, with a local APIC in the kernel.";
    RestoredMachineCheckSleeps "restored-machine-check-sleeps" STATE_007
        "A pending machine check does not wake a halted processor any more once the host has read and put back the event state, with a local APIC in the kernel.";
    RestoredNmiWakesHalted "restored-nmi-wakes-halted" STATE_008
        "Saving and restoring a halted processor with a blocked NMI pending wakes it.";
    InitClearsMachineChecks "init-clears-machine-checks" INIT_STATE_007
        "INIT clears the machine-check registers.";
    RestoreDropsShutdown "restore-drops-shutdown" STATE_006
        "A shutdown that a machine check has requested is lost when the host moves the state to another virtual machine.";
    SyscallClearsArithmeticFlags "syscall-clears-arithmetic-flags" SYS_CALL_002
        "SYSCALL clears DF and the six arithmetic flags whatever SFMASK holds.";
    IntoIn64BitMode "into-in-64-bit-mode" EXC_OF_001
        "INTO works in 64-bit mode.";
    CodeWidthUnchecked "code-width-unchecked" EXC_IRET_002
        "IRET and RETF accept a code segment with both L and D set, with which the hardware later refuses to enter the guest.";
    CodeLimitUnchecked "code-limit-unchecked" EXC_IRET_010
        "Neither IRET nor fetches are checked against the limit of CS.";
    GateTargetUnchecked "gate-target-unchecked" EXC_GATE_006
        "Delivery in long mode enters a handler at a non-canonical address, and the fetch there faults, with the address in CR2.";
    SpareGateBitsChecked "spare-gate-bits-checked" EXC_GATE_007
        "Bits 104 to 108 of a gate in long mode must be clear, as in the descriptors of the GDT that have 16 bytes.";
    FramePushNonCanonicalIsGp "frame-push-non-canonical-is-gp" EXC_STACK_001
        "A frame that would be pushed to a non-canonical address raises #GP instead of #SS, with the address in CR2.";
    ConformingHandlerAtItsOwnLevel "conforming-handler-at-its-own-level" EXC_GATE_008
        "A handler in conforming code runs at the DPL of that code, on the stack of that level.";
    HandlerCodeUnchecked "handler-code-unchecked" EXC_GATE_009
        "In long mode delivery enters code segments of any size.";
    TaskStackLimitIgnored "task-stack-limit-ignored" IST_008
        "In long mode the limit of the TSS is not checked when a stack pointer is read from it.";
    XenPvFrameWithoutRcxR11 "xen-pv-frame-without-rcx-r11" XENPV_FRAME_001
        "The frame of a Xen PV exception has no RCX and R11 on top.";
    XenPvUpcallMaskNotSaved "xen-pv-upcall-mask-not-saved" XENPV_FRAME_002
        "The frame of a Xen PV exception does not hold the event mask.";
    XenPvErrorCodeMissing "xen-pv-error-code-missing" XENPV_FRAME_003
        "The frame of a Xen PV exception has no error code.";
    XenPvFrameShowsHardwareIf "xen-pv-frame-shows-hardware-if" XENPV_FRAME_004
        "IF in the frame of a Xen PV exception is the hardware's.";
    XenPvKernelShowsLevel3 "xen-pv-kernel-shows-level-3" XENPV_FRAME_005
        "The frame says RPL 3 although the guest kernel of Xen was interrupted.";
    XenPvPageFaultSaysUser "xen-pv-page-fault-says-user" XENPV_FRAME_007
        "The error code of a page fault of the guest kernel of Xen has the user bit set.";
    XenPvKernelStackIgnored "xen-pv-kernel-stack-ignored" XENPV_STACK_002
        "An exception in a program of a Xen PV guest stays on its stack.";
    XenPvStackNotAligned "xen-pv-stack-not-aligned" XENPV_STACK_003
        "The frame of a Xen PV exception starts at the stack pointer as it is.";
    XenPvEventsNotMasked "xen-pv-events-not-masked" XENPV_EVENT_001
        "A handler of a Xen PV guest that wants events masked starts with the mask as it was.";
    XenPvSoftwareInterruptIgnoresDpl "xen-pv-software-interrupt-ignores-dpl" XENPV_TRAP_002
        "INT n of a Xen PV guest starts a handler whatever its privilege level.";
    XenPvInt3ChecksDpl "xen-pv-int3-checks-dpl" XENPV_TRAP_003
        "INT3 in a program of a Xen PV guest raises #GP unless its handler has privilege level 3.";
    XenPvGsNotSwitched "xen-pv-gs-not-switched" XENPV_GS_001
        "Xen leaves the GS base as it is between guest kernel and program.";
    XenPvGsBasesSwapped "xen-pv-gs-bases-swapped" XENPV_GS_002
        "The set_segment_base hypercall takes the kernel's GS base for that of programs.";
    XenPvIretStaysInKernel "xen-pv-iret-stays-in-kernel" XENPV_IRET_002
        "The iret hypercall never leaves the guest kernel.";
    XenPvIretKeepsUpcallMask "xen-pv-iret-keeps-upcall-mask" XENPV_IRET_003
        "The iret hypercall leaves the event mask as it is.";
    XenPvIretIgnoresInSyscall "xen-pv-iret-ignores-in-syscall" XENPV_IRET_005
        "The iret hypercall always restores RCX and R11.";
    XenPvFailedReturnCrashes "xen-pv-failed-return-crashes" XENPV_IRET_006
        "A fault of Xen's own IRET to the guest ends the domain.";
    XenPvSwapgsExecuted "xen-pv-swapgs-executed" XENPV_PRIV_001
        "SWAPGS in the guest kernel of Xen swaps the GS bases.";
    XenPvCr2WriteLost "xen-pv-cr2-write-lost" XENPV_CR_001
        "MOV to CR2 in the guest kernel changes nothing.";
    XenPvControlRefusesBits "xen-pv-cr4-refuses-bits" XENPV_CR_002
        "MOV to CR4 in the guest kernel raises #GP(0) for bits that are not the guest's.";
    XenPvCr4DeLost "xen-pv-cr4-de-lost" XENPV_CR_002
        "MOV to CR4 in the guest kernel does not set DE.";
    XenPvCr8Ignored "xen-pv-cr8-ignored" XENPV_CR_003
        "MOV to and from CR8 in the guest kernel raises nothing.";
    XenPvControlRefusedSilently "xen-pv-cr0-refused-silently" XENPV_CR_003
        "MOV to CR0 that clears PE or PG changes nothing and raises nothing.";
    XenPvIntIsTwoBytes "xen-pv-int-is-two-bytes" XENPV_TRAP_006
        "The frame of an INT n holds the address two bytes after its first prefix.";
    XenPvInt80IsTwoBytes "xen-pv-int-0x80-is-two-bytes" XENPV_TRAP_007
        "The general protection exception of an INT 80h without a handler reports the address two bytes before the next instruction.";
    XenPvInt80FaultSetsRf "xen-pv-int-0x80-fault-sets-rf" XENPV_TRAP_007
        "The frame of the general protection exception of an INT 80h without a handler has RF set.";
    XenPvBreakpointsNotReported "xen-pv-breakpoints-not-reported" XENPV_DEBUG_001
        "B0 to B3 of the guest's DR6 are clear after every debug exception.";
    XenPvDr6Overwritten "xen-pv-dr6-overwritten" XENPV_DEBUG_002
        "The guest's DR6 holds the causes of the last debug exception and nothing else.";
    XenPvInt1IsSoftwareInterrupt "xen-pv-int1-is-software-interrupt" XENPV_DEBUG_003
        "INT1 raises #GP unless the trap table permits software to call vector 1.";
    XenPvDebugRegisterReadsZero "xen-pv-debug-register-reads-zero" XENPV_DEBUG_004
        "MOV from a debug register in the guest kernel gives 0.";
    XenPvDebugRegisterWriteLost "xen-pv-debug-register-write-lost" XENPV_DEBUG_004
        "MOV to a debug register in the guest kernel changes nothing.";
    XenPvDebugUpperHalfIgnored "xen-pv-debug-upper-half-ignored" XENPV_DEBUG_005
        "Bits 63:32 of what goes into the guest's DR6 and DR7 are ignored.";
    XenPvBreakpointAnywhere "xen-pv-breakpoint-anywhere" XENPV_DEBUG_006
        "A guest gets general detect, breakpoints on ports and breakpoints in the hypervisor.";
    XenPvPortAlwaysRefused "xen-pv-port-always-refused" XENPV_DEBUG_006
        "A guest gets no breakpoint on a port, even with its CR4.DE.";
    XenPvDr4NeverAlias "xen-pv-dr4-never-alias" XENPV_DEBUG_007
        "DR4 and DR5 are no registers of a guest, even without its CR4.DE.";
    XenPvDr4AlwaysAlias "xen-pv-dr4-always-alias" XENPV_DEBUG_007
        "DR4 and DR5 are DR6 and DR7 whatever the guest's CR4.DE is.";
    XenPvSetDebugRegisterIgnored "xen-pv-set-debugreg-ignored" XENPV_DEBUG_008
        "The set_debugreg hypercall succeeds and sets nothing.";
    XenPvGetDebugRegisterReturnsZero "xen-pv-get-debugreg-returns-zero" XENPV_DEBUG_008
        "The get_debugreg hypercall returns 0.";
    XenPvNoDebugRegisterIsNoDevice "xen-pv-get-debugreg-says-enodev" XENPV_DEBUG_009
        "get_debugreg returns ENODEV, negated, for a number above 7.";
    XenPvOwnAccessReported "xen-pv-own-access-reported" XENPV_DEBUG_010
        "A breakpoint on a frame is reported to the guest.";
    XenPvProgramMovesDebugRegisters "xen-pv-program-moves-debug-registers" XENPV_DEBUG_011
        "MOV to and from debug registers works in a program.";
    XenPvEmulatedIsNotStepped "xen-pv-emulated-is-not-stepped" XENPV_DEBUG_012
        "No single step follows an instruction that Xen executes for the guest kernel.";
    XenPvIretStepsAtOnce "xen-pv-iret-steps-at-once" XENPV_IRET_008
        "The iret hypercall with TF is stepped itself, and RF in its frame is lost.";
    XenPvPrivateFinding "xen-pv-private-finding" XENPV_CALL_004
        "A finding in Xen that is not told before its vendor has answered (SECURITY.md).";
    HostR15Lost "host-r15-lost" STATE_009
        "What the host sets R15 to is lost.";
    HostCr2Lost "host-cr2-lost" STATE_010
        "What the host sets CR2 to is lost.";
    HostDr6Lost "host-dr6-lost" STATE_011
        "What the host sets DR6 to is lost.";
    HostStarLost "host-star-lost" STATE_012
        "What the host sets STAR to is lost.";
    HostNmiMaskLost "host-nmi-mask-lost" STATE_013
        "The host can neither block nor unblock NMIs.";
    HostTaskPriorityLost "host-task-priority-lost" STATE_014
        "What the host sets the task priority of the local APIC to is lost.";
    TaskPrioritySubclassLost "task-priority-subclass-lost" STATE_014
        "Once a processor has run, bits 3:0 of the task priority are 0.";
    HostSystemCallsRefused "host-system-calls-refused" STATE_015
        "The host cannot set EFER.SCE.";
    HostEferUnchecked "host-efer-unchecked" STATE_016
        "The host can give a processor an EFER with reserved bits, with which the hardware then refuses to enter the guest.";
    HostEferTaken "host-efer-taken" STATE_016
        "The host can give a processor an EFER with reserved bits, and the processor runs with it.";
    HostCr0Unchecked "host-cr0-unchecked" STATE_017
        "The host can give a processor an illegal CR0, and the processor runs with it.";
    HostModeUnchecked "host-mode-unchecked" STATE_018
        "The host can give a processor a CR4 with reserved bits, or modes that contradict each other.";
    HostMakesBootstrapProcessors "host-makes-bootstrap-processors" STATE_010
        "IA32_APIC_BASE of a processor without a local APIC reads back as that of the bootstrap processor, whatever was set.";
    HostReservedMemberTold "host-reserved-member-told" STATE_019
        "KVM_GET_DEBUGREGS tells 1 in `flags`, which is unused.";
    HostShutdownTold "host-shutdown-told" STATE_020
        "KVM_GET_VCPU_EVENTS tells of a shutdown that nothing has requested.";
    HostProcessorPriorityTold "host-processor-priority-told" STATE_021
        "KVM_GET_LAPIC tells a processor priority that is not that of TPR and ISR.";
    ZeroPageWritable "zero-page-writable" S2_RO_004
        "Once untouched memory was read through a read-only slot, writes go to the zero page of the host.";
    ReadOnlySlotWritable "read-only-slot-writable" S2_RO_002
        "A write to a read-only slot changes the memory.";
    ZeroPageIsMmio "zero-page-is-mmio" S2_RO_001
        "Memory that was never written counts as a device, and reads of it reach the host.";
    ReadOnlyWriteHidesMemory "read-only-write-hides-memory" S2_RO_004
        "Once a write to a read-only slot has reached the host, reads of that page do so too.";
    MmioCachedAcrossCreation "mmio-cached-across-creation" S2_SLOT_007
        "A page that was a hole when it was accessed stays one when a slot is created there.";
    DeletedSlotStaysMapped "deleted-slot-stays-mapped" S2_SLOT_004
        "Pages that the guest has accessed stay where they were when their slot is deleted or moved.";
    OverlapAccepted "overlap-accepted" S2_SLOT_002
        "A slot may overlap another one.";
    MissingSlotDeleted "missing-slot-deleted" S2_SLOT_004
        "A slot that is not there can be deleted.";
    MisalignedSlotAccepted "misaligned-slot-accepted" S2_SLOT_001
        "Addresses and sizes of slots are not checked for whole pages.";
    AddressSpacesOverlap "address-spaces-overlap" S2_SLOT_008
        "Slots of different address spaces may not overlap.";
    SlotAtZeroMissed "slot-at-zero-missed" S2_MMIO_001
        "A slot that starts at guest address 0 is not found.";
    HostProtectionIgnored "host-protection-ignored" S2_HOST_006
        "A guest can write memory that the host's process may only read.";
    HostChangeUnseen "host-change-unseen" S2_HOST_004
        "A page that the guest has accessed stays under the slot when the host maps something else or drops it.";
    PrivateFileWrittenThrough "private-file-written-through" S2_HOST_002
        "A write to a private mapping of a file changes the file.";
    ForkSharesPages "fork-shares-pages" S2_HOST_007
        "After fork the child sees what the guest writes.";
    MergedPagesWritable "merged-pages-writable" S2_HOST_011
        "What a guest writes to a page that the host has merged with others changes all of them.";
    RunningGuestKeepsMappings "running-guest-keeps-mappings" S2_HOST_012
        "What the host changes while a guest runs stays as it was for the guest until it next leaves.";
    ReadMarksDirty "read-marks-dirty" S2_DIRTY_001
        "A read marks its page in the dirty log.";
    ExitMarksDirty "exit-marks-dirty" S2_DIRTY_006
        "A write that reaches the host marks its page in the dirty log.";
    DirtyOnlyAtFirstWrite "dirty-only-at-first-write" S2_DIRTY_002
        "A page that the guest has accessed before is not marked in the dirty log when it is written.";
    MmioRetiredLate "mmio-retired-late" S2_MMIO_002
        "KVM_RUN with `immediate_exit` does not complete the access that reached the host.";
    CrossingAccessNotSplit "crossing-access-not-split" S2_CROSS_001
        "An access that begins where no slot is and crosses into memory reaches the host whole.";
    FailedCompareWritesNothing "failed-compare-writes-nothing" S2_ATOMIC_001
        "A CMPXCHG that finds another value does not write.";
    RingNotRearmed "ring-not-rearmed" S2_RING_001
        "A page that was in the dirty ring once is not listed again.";
    LogBesideRing "log-beside-ring" S2_RING_002
        "A virtual machine with a dirty ring also has dirty logs.";
    FailedWriteMarksDirty "failed-write-marks-dirty" S2_DIRTY_006
        "A write that fails because the host's process may not write marks its page in the dirty log.";
    HugePageMisplaced "huge-page-misplaced" S2_HOST_009
        "A huge page is mapped as a whole although guest and host address are not aligned alike.";
    WalkWritesReadOnlyTable "walk-writes-read-only-table" S2_WALK_002
        "A walk writes accessed and dirty bits into a page table in a read-only slot.";
    ReadOnlyTableFails "read-only-table-fails" S2_WALK_002
        "A guest whose page table is in a read-only slot shuts down.";
    WalkSetsNothing "walk-sets-nothing" S2_WALK_001
        "Walks set no accessed and dirty bits.";
    WalkNotLogged "walk-not-logged" S2_WALK_001
        "A walk that writes a page table does not mark it in the dirty log.";
    AnyProcessRuns "any-process-runs" S2_HOST_010
        "A child process can run the virtual machine of its parent.";
    TableFrameIgnored "table-frame-ignored" S2_WALK_001
        "A page-table entry leads to its own address, whatever its frame.";
    FirstReadMarksDirty "first-read-marks-dirty" S2_DIRTY_001
        "A read through which a page is mapped that the host's process can write marks it in the dirty log.";
    UnreachableMemoryIsMmio "unreachable-memory-is-mmio" S2_HOST_005
        "An access to host memory that cannot be accessed ends in KVM_EXIT_MMIO, and a locked one in KVM_EXIT_INTERNAL_ERROR.";
    UndescribedAccessSkipped "undescribed-access-skipped" A64_NISV_001
        "An access without a valid syndrome that is not in memory counts as done.";
    UndescribedExitsIgnored "undescribed-exits-ignored" A64_NISV_002
        "KVM_CAP_ARM_NISV_TO_USER changes nothing.";
    SignExtendedPastWord "sign-extended-past-word" A64_MMIO_001
        "The sign of an answer to a load into a 32-bit register is extended to 64 bits.";
    FetchWithoutSlotFails "fetch-without-slot-fails" A64_FETCH_001
        "Executing a page without a slot makes KVM_RUN fail instead of being an exception of the guest.";
    MaintenanceWithoutSlotFails "maintenance-without-slot-fails" A64_MAINT_001
        "Cache maintenance of a page without a slot makes KVM_RUN fail.";
    MaintenanceNeedsWritable "maintenance-needs-writable" A64_MAINT_002
        "Cache maintenance of a page of a read-only slot that was not read yet makes KVM_RUN fail.";
    DeviceAttributeGrantsWrite "device-attribute-grants-write" A64_ATTR_001
        "A page that is mapped as a device can be written, read-only slot or not.";
    ZeroPageIsDevice "zero-page-is-device" A64_STAGE1_003
        "Untouched memory of a read-only slot is mapped as a device.";
    WalkAbortWithoutLevel "walk-abort-without-level" A64_WALK_001
        "An external abort on a walk is reported as one of the access itself.";
    WalkCountsAsWrite "walk-counts-as-write" A64_WALK_002
        "A walk through a table in a read-only slot is taken for a write, and aborts.";
    WalkWriteReachesHost "walk-write-reaches-host" A64_WALK_004
        "An update of a table in a read-only slot is handed to the host.";
    FetchNeverSetsAccessFlag "fetch-never-sets-access-flag" A64_WALK_003
        "A fetch whose access flag is clear faults for ever.";
    DataAccessNeverSetsAccessFlag "data-access-never-sets-access-flag" A64_WALK_003
        "A load or store whose access flag is clear faults for ever.";
    AccessFlagNotLogged "access-flag-not-logged" A64_WALK_003
        "The processor's update of a table does not mark the table's page.";
    BeyondAddressesReachesHost "beyond-addresses-reaches-host" A64_RANGE_001
        "An access beyond the guest-physical addresses is an MMIO exit.";
    LastGuestPageRefused "last-guest-page-refused" A64_RANGE_002
        "A slot that ends with the last guest-physical address is refused.";
    SyndromeExtendsSign "syndrome-extends-sign" A64_SYNDROME_001
        "The upper half of the syndrome of an abort that the hypervisor injects is all ones.";
    BeyondAddressesAtPhysicalAddress "beyond-addresses-at-physical-address" A64_RANGE_001
        "The abort of an access beyond the guest-physical addresses has the guest-physical address instead of the virtual one.";
    DeviceAlignmentUnchecked "device-alignment-unchecked" A64_STAGE1_002
        "An access to device memory need not be aligned.";
    AnswerNeverExtendsSign "answer-never-extends-sign" A64_MMIO_001
        "What the host answers to a load that extends the sign is extended with zeros.";
    AbortOfHostIgnored "abort-of-host-ignored" A64_ABORT_001
        "An access that the host answers with an abort is completed.";
    ReadModifyWriteFaultsAsRead "read-modify-write-faults-as-read" INS_RMW_001
        "An instruction that reads and writes memory reads before it checks that it can write, and faults as a read.";
    RexByteRegisterIsHighByte "rex-byte-register-is-high-byte" INS_REG_001
        "SPL, BPL, SIL and DIL are taken for AH, CH, DH and BH.";
    XaddAddressAfterwards "xadd-address-afterwards" INS_ADDR_001
        "The address of XADD comes from the registers as the instruction leaves them.";
    PopSsMovesByNewStack "pop-ss-moves-by-new-stack" INS_STACK_001
        "POP SS moves the stack pointer by the width of the stack that it loads.";
    ShiftByZeroWritesNothing "shift-by-zero-writes-nothing" INS_SHIFT_001
        "A shift by 0 leaves the upper half of a 32-bit register.";
    FailedCmpxchgWritesRegister "failed-cmpxchg-writes-register" INS_CMPXCHG_001
        "A CMPXCHG that fails writes its destination register, and clears the upper half.";
    OverridesCountIn64BitCode "overrides-count-in-64-bit-code" INS_SEG_001
        "An SS prefix decides between #GP and #SS in 64-bit code.";
    LongInstructionIsUndefined "long-instruction-is-undefined" INS_LENGTH_001
        "An instruction of more than 15 bytes raises #UD.";
    TaskSegmentUpperHalfUnchecked "task-segment-upper-half-unchecked" INS_TASK_002
        "LTR and LLDT look neither at the type in the upper half of the descriptor nor at whether the base is canonical.";
    X2apicEoiTakesAnything "x2apic-eoi-takes-anything" APIC_X2_005
        "In x2APIC mode any value ends an interrupt.";
    X2apicUpperHalfIgnored "x2apic-upper-half-ignored" APIC_X2_005
        "In x2APIC mode bits 63:32 that are written to a 32-bit register are dropped.";
    NearBranchSizeIgnored "near-branch-size-ignored" INS_BRANCH_001
        "66h before a near branch in 64-bit code does nothing on a processor of AMD's.";
    NonCanonicalAccessIsGp "non-canonical-access-is-gp" EXC_SEG_004
        "An access to a non-canonical address raises #GP through the stack, too, and loads CR2.";
    ReservedBitFaultNotPresent "reserved-bit-fault-not-present" EXC_PF_001
        "The error code of a page fault at a reserved bit says that the page is not present.";
}

impl fmt::Display for Defect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// There is no defect of that name.
#[derive(Debug, thiserror::Error)]
#[error("no defect is called `{0}`; `conform defects` lists them")]
pub struct UnknownDefect(String);

impl std::str::FromStr for Defect {
    type Err = UnknownDefect;
    fn from_str(name: &str) -> Result<Self, UnknownDefect> {
        let found = Self::ALL.iter().find(|defect| defect.name() == name);
        found.copied().ok_or_else(|| UnknownDefect(name.to_owned()))
    }
}

/// A set of defects that are switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DefectSet([u128; DefectSet::WORDS]);

impl DefectSet {
    const WORDS: usize = Defect::ALL.len().div_ceil(128);

    /// The pure model.
    pub const NONE: Self = Self([0; Self::WORDS]);

    /// Whether the defect is on.
    #[must_use]
    pub const fn has(self, defect: Defect) -> bool {
        self.0[defect as usize / 128] & 1 << (defect as usize % 128) != 0
    }

    /// The same with one more defect on.
    #[must_use]
    pub const fn with(mut self, defect: Defect) -> Self {
        self.0[defect as usize / 128] |= 1 << (defect as usize % 128);
        self
    }

    /// Those that are on.
    pub fn iter(self) -> impl Iterator<Item = Defect> {
        Defect::ALL
            .iter()
            .copied()
            .filter(move |defect| self.has(*defect))
    }
}

impl FromIterator<Defect> for DefectSet {
    fn from_iter<I: IntoIterator<Item = Defect>>(defects: I) -> Self {
        defects.into_iter().fold(Self::NONE, Self::with)
    }
}
