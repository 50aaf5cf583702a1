//! Stack switching in long mode.

super::requirements! {
    IST:
    IST_001 "IST-001" Architectural
        "A gate with a nonzero IST field takes RSP from that entry of the TSS, whatever the privilege levels."
        "Intel SDM vol. 3A, \"Interrupt Stack Table\"; AMD APM vol. 2, 8.9.4";
    IST_002 "IST-002" Architectural
        "A gate with IST 0 keeps the stack if the privilege level does not change."
        "Intel SDM vol. 3A, \"64-Bit Mode Stack Frame\"; AMD APM vol. 2, 8.9.3";
    IST_003 "IST-003" Architectural
        "A gate with IST 0 takes RSP from RSPn of the TSS when the privilege level changes."
        "Intel SDM vol. 3A, \"Stack Switching in IA-32e Mode\"; AMD APM vol. 2, 8.9.3";
    IST_004 "IST-004" Architectural
        "A second event on the same IST entry starts at the same address and overwrites the first frame."
        "Intel SDM vol. 3A, \"Interrupt Stack Table\"; AMD APM vol. 2, 8.9.4";
    IST_005 "IST-005" Architectural
        "A non-canonical stack pointer from the TSS raises #SS, which is delivered unless it makes a double fault with the event that was on its way."
        "Intel SDM vol. 2, INT n; AMD APM vol. 2, 8.9.3";
    IST_006 "IST-006" Vendor
        "On a change of privilege in long mode SS is loaded with a null selector whose RPL is the new CPL; a stack switch through the IST without one may do so too."
        "Intel SDM vol. 3A, \"Interrupt Stack Table\" and \"Stack Switching in IA-32e Mode\"; AMD APM vol. 2, 8.9.3";
    IST_007 "IST-007" Architectural
        "An IST entry that lies beyond the TSS limit raises #TS."
        "Intel SDM vol. 2, INT n; AMD APM vol. 2, 8.9.3";
    IST_008 "IST-008" Architectural
        "RSPn that lies beyond the TSS limit raises #TS with the selector of the TSS."
        "Intel SDM vol. 2, INT n; AMD APM vol. 2, 8.9.3";
}
