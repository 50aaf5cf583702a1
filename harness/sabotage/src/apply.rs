//! Calls, broken or not.

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io::Write as _;
use std::ops::Range;

use crate::abi::{self, run};
use crate::change;
use crate::kernel;
use crate::machines::{Late, RunPage, Slot, long, word};
use crate::spec::{Effect, Place};
use crate::{LOG, library};

/// Bytes of an entry of `struct kvm_msrs`, and where the first one is.
const MSR: usize = 16;
const MSRS: usize = 8;
/// A list of MSRs that KVM takes is not longer.
const MOST_MSRS: usize = 4096;

/// The error with which `/dev/kvm` does not open, if so it is.
pub(crate) fn refuses_to_open() -> Option<c_int> {
    match chosen(-1, abi::OPEN, 0)? {
        (text, Effect::Fail(errno), _) => {
            applied(&text);
            Some(errno)
        }
        _ => None,
    }
}

/// What becomes of this call.
fn chosen(fd: c_int, request: u32, argument: u64) -> Option<(String, Effect, u64)> {
    let library = &mut *library();
    if matches!(request, abi::KVM_CREATE_VCPU | abi::KVM_SET_USER_MEMORY_REGION) {
        library.machines.vm_used(fd);
    }
    let number = library.machines.number(fd);
    let mut found = None;
    for sabotage in &mut library.sabotages {
        if sabotage.request != request || sabotage.vm.is_some_and(|vm| number != Some(vm)) {
            continue;
        }
        if matches!(sabotage.effect, Effect::Hide(capability) | Effect::Claim(capability) if capability != argument)
        {
            continue;
        }
        sabotage.calls += 1;
        if found.is_none() && (sabotage.from..=sabotage.to).contains(&sabotage.calls) {
            found = Some((sabotage.text.clone(), sabotage.effect.clone(), sabotage.calls));
        }
    }
    found
}

/// Notes that something was really broken.
fn applied(text: &str) {
    let Some(path) = std::env::var_os(LOG).filter(|path| !path.is_empty()) else {
        return;
    };
    let file = File::options().append(true).create(true).open(path);
    // Twice: a serial port that was just opened may lose what comes first.
    let line = format!("applied {text}\n");
    if let Err(error) = file.and_then(|mut file| file.write_all(line.repeat(2).as_bytes())) {
        eprintln!("{LOG}: {error}");
    }
}

/// A request of KVM.
///
/// # Safety
/// `argument` must be what the request wants.
pub(crate) unsafe fn call(fd: c_int, request: u32, argument: *mut c_void) -> c_int {
    let Some((text, effect, number)) = chosen(fd, request, argument as u64) else {
        // SAFETY: as the caller promises.
        return unsafe { passed(fd, request, argument) };
    };
    let of_any_call = matches!(
        effect,
        Effect::Fail(_)
            | Effect::Lie
            | Effect::Count
            | Effect::Effective
            | Effect::Warn
            | Effect::Panic
            | Effect::Exit
    );
    if request == abi::KVM_RUN && !of_any_call {
        return run_broken(fd, &text, &effect);
    }
    let through = |fd| {
        // SAFETY: as the caller promises.
        unsafe { passed(fd, request, argument) }
    };
    match effect {
        Effect::Fail(errno) => {
            applied(&text);
            kernel::set_errno(errno);
            -1
        }
        Effect::Lie => {
            // SAFETY: as the caller promises.
            let argument = unsafe { structure(request, argument) };
            if change::is_one(fd, request, &argument) {
                applied(&text);
            }
            if request == abi::KVM_SET_MSRS {
                return word(&argument, 0)
                    .and_then(|count| c_int::try_from(count).ok())
                    .unwrap_or(0);
            }
            0
        }
        Effect::Twice => {
            applied(&text);
            through(fd);
            through(fd)
        }
        Effect::Late | Effect::Again => {
            if effect == Effect::Again {
                through(fd);
            }
            // SAFETY: as the caller promises.
            let argument = unsafe { structure(request, argument) };
            if let Some(vcpu) = library().machines.vcpu(fd) {
                vcpu.late.push(Late {
                    request,
                    argument,
                    text,
                });
            }
            0
        }
        Effect::Other => {
            let other = library().machines.other_vcpu(fd);
            if other.is_some() {
                applied(&text);
            }
            through(other.unwrap_or(fd))
        }
        Effect::Hide(_) => {
            applied(&text);
            0
        }
        Effect::Claim(_) => {
            applied(&text);
            1
        }
        Effect::Count => {
            applied(&text);
            through(fd)
        }
        Effect::Effective => {
            // SAFETY: as the caller promises.
            let argument = unsafe { structure(request, argument) };
            if change::is_one(fd, request, &argument) {
                applied(&format!("{text} {number}"));
            }
            through(fd)
        }
        Effect::Flip(place, bit) if abi::is_getter(request) || request == abi::KVM_GET_MSRS => {
            let result = through(fd);
            // SAFETY: as the caller promises.
            let mut bytes = unsafe { structure(request, argument) };
            if result >= 0
                && let Some(at) = range(place, &bytes)
            {
                bytes[at.start + bit as usize / 8] ^= 1 << (bit % 8);
                applied(&text);
                // SAFETY: as the caller promises; the length is that of the structure.
                unsafe { put(argument, &bytes) };
            }
            result
        }
        Effect::Flip(place, bit) => {
            // SAFETY: as the caller promises.
            let mut bytes = unsafe { structure(request, argument) };
            if let Some(at) = range(place, &bytes) {
                bytes[at.start + bit as usize / 8] ^= 1 << (bit % 8);
                applied(&text);
            }
            kernel::ioctl_with(fd, request, &mut bytes)
        }
        Effect::Drop(place) => {
            // SAFETY: as the caller promises.
            let mut bytes = unsafe { structure(request, argument) };
            if let (Some(at), Some(now)) = (range(place, &bytes), present(fd, request, place))
                && bytes[at.clone()] != now
            {
                bytes[at].copy_from_slice(&now);
                applied(&text);
            }
            kernel::ioctl_with(fd, request, &mut bytes)
        }
        Effect::Frozen | Effect::Behind | Effect::Cached => {
            let remembered = {
                let mut library = library();
                library.machines.vcpu(fd).and_then(|vcpu| match effect {
                    Effect::Frozen => vcpu.first.get(&request).cloned(),
                    Effect::Behind => vcpu.last.get(&request).cloned(),
                    _ => vcpu.set.get(&abi::setter_of(request)?).cloned(),
                })
            };
            let result = through(fd);
            // SAFETY: as the caller promises.
            let truth = unsafe { structure(request, argument) };
            if let Some(bytes) = remembered.filter(|bytes| result >= 0 && *bytes != truth) {
                applied(&text);
                // SAFETY: what this getter or its setter had before is of the same length.
                unsafe { put(argument, &bytes) };
            }
            result
        }
        Effect::Warn => {
            let result = through(fd);
            // As the kernel's own WARN looks.
            let line = "<4>WARNING: CPU: 0 PID: 1 at arch/x86/kvm/x86.c:1 sabotage+0x1/0x2 [kvm]\n";
            if kernel::write_file("/dev/kmsg", line) {
                applied(&text);
            }
            result
        }
        Effect::Panic => {
            applied(&text);
            // Only a kernel whose init this is may be lost.
            if std::process::id() == 1 {
                kernel::write_file("/proc/sys/kernel/sysrq", "1");
                kernel::write_file("/proc/sysrq-trigger", "c");
            }
            through(fd)
        }
        Effect::Exit => {
            applied(&text);
            std::process::exit(0)
        }
        Effect::DirtyLog { full } => {
            let result = through(fd);
            // SAFETY: as the caller promises.
            let log = unsafe { structure(request, argument) };
            if result >= 0 && change_dirty_log(fd, &log, full) {
                applied(&text);
            }
            result
        }
        // Of KVM_RUN only.
        _ => through(fd),
    }
}

/// A call as it should be, with what can be learnt from it.
///
/// # Safety
/// `argument` must be what the request wants.
unsafe fn passed(fd: c_int, request: u32, argument: *mut c_void) -> c_int {
    if request == abi::KVM_RUN {
        return enter(fd);
    }
    let result = kernel::ioctl(fd, request, argument);
    if result < 0 {
        return result;
    }
    let is_known = abi::setter_of(request).is_some() || abi::getter_of(request).is_some();
    if !is_known && request != abi::KVM_SET_USER_MEMORY_REGION {
        let machines = &mut library().machines;
        match request {
            abi::KVM_CREATE_VM => machines.vm_created(result),
            abi::KVM_CREATE_VCPU => machines.vcpu_created(fd, result),
            _ => {}
        }
        return result;
    }
    // SAFETY: as the caller promises.
    let bytes = unsafe { structure(request, argument) };
    let machines = &mut library().machines;
    if request == abi::KVM_SET_USER_MEMORY_REGION {
        machines.slot_set(fd, &bytes);
    } else if let Some(vcpu) = machines.vcpu(fd) {
        if abi::setter_of(request).is_some() {
            vcpu.first.entry(request).or_insert_with(|| bytes.clone());
            vcpu.last.insert(request, bytes);
        } else {
            vcpu.set.insert(request, bytes);
        }
    }
    result
}

/// KVM_RUN, and after it what was put off until then.
fn enter(fd: c_int) -> c_int {
    let at_once = run_page(fd).is_some_and(RunPage::is_to_exit_at_once);
    let result = kernel::ioctl(fd, abi::KVM_RUN, std::ptr::null_mut());
    if at_once {
        return result;
    }
    let late = match library().machines.vcpu(fd) {
        Some(vcpu) => std::mem::take(&mut vcpu.late),
        None => Vec::new(),
    };
    if late.is_empty() {
        return result;
    }
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
    for mut late in late {
        applied(&late.text);
        kernel::ioctl_with(fd, late.request, &mut late.argument);
    }
    kernel::set_errno(errno);
    result
}

/// KVM_RUN in which something goes wrong.
fn run_broken(fd: c_int, text: &str, effect: &Effect) -> c_int {
    let Some(page) = run_page(fd) else {
        return enter(fd);
    };
    match effect {
        Effect::Skip | Effect::On if !page.is_to_exit_at_once() => enter(fd),
        Effect::Skip => {
            applied(text);
            kernel::set_errno(libc::EINTR);
            -1
        }
        Effect::On => {
            applied(text);
            page.write(run::IMMEDIATE_EXIT, 0_u8);
            let result = enter(fd);
            page.write(run::IMMEDIATE_EXIT, 1_u8);
            result
        }
        Effect::Forget { page: one } if !page.is_to_exit_at_once() => {
            let before = snapshots(fd);
            let result = enter(fd);
            if restore(&before, *one) {
                applied(text);
            }
            result
        }
        Effect::Scribble if !page.is_to_exit_at_once() => {
            let result = enter(fd);
            let slots = library().machines.slots(fd);
            if let Some(slot) = slots.values().next() {
                let last = slot.host + slot.size - 1;
                let mut byte = [0];
                if kernel::read_memory(last, &mut byte) && kernel::write_memory(last, &[byte[0] ^ 1]) {
                    applied(text);
                }
            }
            result
        }
        _ => {
            let result = enter(fd);
            if result >= 0 && change_exit(page, effect) {
                applied(text);
            }
            result
        }
    }
}

/// Changes why KVM_RUN came back; whether there was something to change.
fn change_exit(page: RunPage, effect: &Effect) -> bool {
    let reason: u32 = page.read(run::EXIT_REASON);
    let is_out = reason == run::EXIT_IO && page.read::<u8>(run::IO_DIRECTION) == run::DIRECTION_OUT;
    let is_mmio = reason == run::EXIT_MMIO;
    let invert = |offset: usize| page.write(offset, page.read::<u8>(offset) ^ 1);
    match effect {
        Effect::Reason(other) if *other != reason => page.write(run::EXIT_REASON, *other),
        Effect::Port if reason == run::EXIT_IO => invert(run::IO_PORT),
        Effect::Address if is_mmio => invert(run::MMIO_ADDRESS),
        Effect::Data if is_out => invert(page.read::<u64>(run::IO_DATA_OFFSET) as usize),
        Effect::Data if is_mmio && page.read::<u8>(run::MMIO_IS_WRITE) != 0 => invert(run::MMIO_DATA),
        _ => return false,
    }
    true
}

fn run_page(fd: c_int) -> Option<RunPage> {
    library().machines.vcpu(fd)?.run
}

/// What all slots hold; those that are partly not mapped are left out.
fn snapshots(fd: c_int) -> Vec<(Slot, Vec<u8>)> {
    let slots = library().machines.slots(fd);
    let read = |slot: &Slot| {
        let mut bytes = vec![0; usize::try_from(slot.size).ok()?];
        kernel::read_memory(slot.host, &mut bytes).then_some((*slot, bytes))
    };
    slots.values().filter_map(read).collect()
}

/// Undoes changes page by page; whether there were any.
fn restore(before: &[(Slot, Vec<u8>)], only_one: bool) -> bool {
    const PAGE: usize = 4096;
    let mut any = false;
    for (slot, old) in before {
        for (offset, old) in (0_u64..).step_by(PAGE).zip(old.chunks(PAGE)) {
            let mut new = vec![0; old.len()];
            let address = slot.host + offset;
            if kernel::read_memory(address, &mut new) && new != old && kernel::write_memory(address, old) {
                any = true;
                if only_one {
                    return true;
                }
            }
        }
    }
    any
}

/// `struct kvm_dirty_log`: makes the bitmap that it points to all ones or all zeros; whether
/// that was a change.
fn change_dirty_log(fd: c_int, log: &[u8], full: bool) -> bool {
    let (Some(slot), Some(bitmap)) = (word(log, 0), long(log, 8)) else {
        return false;
    };
    let slots = library().machines.slots(fd);
    let Some(pages) = slots.get(&slot).map(|slot| slot.size / 4096) else {
        return false;
    };
    // KVM writes whole words of 64 bits.
    let mut before = vec![0; pages.div_ceil(64) as usize * 8];
    let mut after = before.clone();
    for page in (0..pages as usize).filter(|_| full) {
        after[page / 8] |= 1 << (page % 8);
    }
    kernel::read_memory(bitmap, &mut before) && before != after && kernel::write_memory(bitmap, &after)
}

/// The value that a member has now.
fn present(fd: c_int, setter: u32, place: Place) -> Option<Vec<u8>> {
    let (getter, mut bytes) = match place {
        Place::Msr(index) => {
            let mut bytes = vec![0; MSRS + MSR];
            bytes[0] = 1;
            bytes[MSRS..MSRS + 4].copy_from_slice(&index.to_le_bytes());
            (abi::KVM_GET_MSRS, bytes)
        }
        Place::Field(_) => {
            let getter = abi::getter_of(setter)?;
            (getter, vec![0; abi::size(getter)])
        }
    };
    if kernel::ioctl_with(fd, getter, &mut bytes) < 0 {
        return None;
    }
    let at = range(place, &bytes)?;
    bytes.get(at).map(<[u8]>::to_vec)
}

/// Where a member lies.
fn range(place: Place, bytes: &[u8]) -> Option<Range<usize>> {
    match place {
        Place::Field(field) => {
            let end = field.offset + field.width;
            (end <= bytes.len()).then_some(field.offset..end)
        }
        Place::Msr(index) => {
            let entries = (MSRS..bytes.len()).step_by(MSR);
            let at = entries.into_iter().find(|at| word(bytes, *at) == Some(index))?;
            Some(at + 8..at + MSR)
        }
    }
}

/// A copy of the structure of a request.
///
/// # Safety
/// `argument` must be what the request wants.
unsafe fn structure(request: u32, argument: *mut c_void) -> Vec<u8> {
    let mut length = abi::size(request);
    if matches!(request, abi::KVM_GET_MSRS | abi::KVM_SET_MSRS) {
        // SAFETY: the caller promises a `struct kvm_msrs`, which starts with how many follow.
        let count = unsafe { argument.cast::<u32>().read_unaligned() };
        length = MSRS + MSR * (count as usize).min(MOST_MSRS);
    }
    let mut bytes = vec![0; length];
    if length != 0 {
        // SAFETY: the caller promises a structure of that length.
        unsafe { std::ptr::copy_nonoverlapping(argument.cast::<u8>(), bytes.as_mut_ptr(), length) };
    }
    bytes
}

/// Puts bytes into the structure of a getter.
///
/// # Safety
/// The structure must be that long.
unsafe fn put(argument: *mut c_void, bytes: &[u8]) {
    // SAFETY: as the caller promises; a vector of this library lies elsewhere.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), argument.cast::<u8>(), bytes.len()) };
}
