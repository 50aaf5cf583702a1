//! What holds for the kernel that runs a guest, whatever the guest is. No part of the model does it, and
//! every case checks it.

super::requirements! {
    HOST:
    HOST_001 "HOST-001" KvmPolicy
        "Nothing that a guest does, or its VMM through the KVM API, makes the kernel that runs it warn, oops, hang or panic."
        "Linux Documentation/process/deprecated.rst, \"BUG() and BUG_ON()\", and Documentation/process/coding-style.rst, \"Do not crash the kernel\": WARN() is for what is expected to be unreachable";
}
