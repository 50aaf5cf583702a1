//! Task switches by the processor, outside long mode.

super::requirements! {
    TASK_SWITCH:
    TASK_GATE_001 "TASK-GATE-001" Architectural
        "An exception or interrupt whose gate is a task gate switches to the task of that gate."
        "Intel SDM vol. 3A, \"Interrupt Tasks\" and \"Task Switching\"; AMD APM vol. 2, 12.3.2";
    TASK_GATE_002 "TASK-GATE-002" Vendor
        "The error code of an exception that is delivered through a task gate is pushed on the stack of the new task."
        "Intel SDM vol. 2, INT n/INTO/INT3/INT1 (TASK-GATE)";
    TASK_CALL_001 "TASK-CALL-001" Architectural
        "A far CALL or JMP to a task-state segment or through a task gate switches to that task."
        "Intel SDM vol. 3A, \"Task Switching\"; AMD APM vol. 2, 12.3.2";
    TASK_SAVE_001 "TASK-SAVE-001" Architectural
        "A task switch saves EIP, EFLAGS, the general registers and the selectors of ES, CS, SS, DS, FS and GS in the old task-state segment."
        "Intel SDM vol. 3A, \"Task Switching\"; AMD APM vol. 2, 12.3.2";
    TASK_SAVE_002 "TASK-SAVE-002" Vendor
        "Whether RF is set in the EFLAGS that a fault saves through a task gate is not specified here."
        "Intel SDM vol. 3B, \"Instruction-Breakpoint Exception Condition\", and AMD APM vol. 2, 8.2.2, speak of what is pushed on a stack";
    TASK_LOAD_001 "TASK-LOAD-001" Architectural
        "A task switch loads EIP, EFLAGS, the general registers, the segment registers, LDTR and TR from the new task-state segment and its descriptor."
        "Intel SDM vol. 3A, \"Task Switching\"; AMD APM vol. 2, 12.3.2";
    TASK_LOAD_002 "TASK-LOAD-002" Architectural
        "A task switch loads CR3 from the new task-state segment only while paging is on."
        "Intel SDM vol. 3A, \"Task Switching\" and \"Task-State Segment (TSS)\" (CR3); AMD APM vol. 2, 12.3.1, says that it has no effect without paging";
    TASK_LOAD_003 "TASK-LOAD-003" Architectural
        "A task switch sets CR0.TS."
        "Intel SDM vol. 3A, \"Task Switching\"; AMD APM vol. 2, 12.3.2";
    TASK_LINK_001 "TASK-LINK-001" Architectural
        "A CALL, exception or interrupt that switches tasks stores the old task's selector in the link field of the new one and sets NT."
        "Intel SDM vol. 3A, \"Task Linking\"; AMD APM vol. 2, 12.3.4";
    TASK_LINK_002 "TASK-LINK-002" Architectural
        "IRET with NT set outside long mode switches to the task in the link field of the current one, whose saved EFLAGS have NT clear."
        "Intel SDM vol. 2, IRET (TASK-RETURN), and vol. 3A, \"Task Linking\"; AMD APM vol. 2, 12.3.4";
    TASK_BUSY_001 "TASK-BUSY-001" Architectural
        "A task is marked busy when it is switched to, and available when a JMP or IRET leaves it."
        "Intel SDM vol. 3A, \"Use of Busy Flag To Prevent Recursive Task Switching\"; AMD APM vol. 2, 12.3.4 \"Preventing Recursion\"";
    TASK_CHECK_001 "TASK-CHECK-001" Vendor
        "A switch to a task that is busy raises #GP with its selector, and a return to one that is not raises #TS."
        "Intel SDM vol. 3A, \"Exception Conditions Checked During a Task Switch\" (table); vol. 2, INT n/INTO/INT3/INT1 and IRET";
    TASK_CHECK_002 "TASK-CHECK-002" Vendor
        "A switch to a task whose descriptor is not present raises #NP with its selector."
        "Intel SDM vol. 3A, \"Exception Conditions Checked During a Task Switch\" (table)";
    TASK_CHECK_003 "TASK-CHECK-003" Architectural
        "A switch to a task whose limit is below 67h raises #TS with its selector."
        "Intel SDM vol. 3A, \"Exception Conditions Checked During a Task Switch\" (table); AMD APM vol. 2, 12.3.2";
    TASK_DEBUG_001 "TASK-DEBUG-001" Architectural
        "A switch to a task with T set is followed by #DB with DR6.BT set before its first instruction."
        "Intel SDM vol. 3B, \"Task-Switch Exception Condition\"; AMD APM vol. 2, 12.2.4 and 13.1.1 \"Debug-Status Register (DR6)\"";
    TASK_DEBUG_002 "TASK-DEBUG-002" Architectural
        "A task switch clears L0 to L3 in DR7."
        "Intel SDM vol. 3B, \"Debug Control Register (DR7)\"; AMD APM vol. 2, 13.1.1 \"Debug-Control Register (DR7)\"";
}
