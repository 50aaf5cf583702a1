//! What to break, as text: sabotages separated by `;`, each made of words separated by `:`.
//!
//! The first word is the call, by its name in the KVM API, or `open` (of `/dev/kvm`). The second
//! one says what becomes of it:
//!
//! | word | effect |
//! |---|---|
//! | `fail=EINVAL` | it fails with that error and does nothing |
//! | `lie` | it succeeds and does nothing; of KVM_RUN: it gives 0, and the exit before is still there |
//! | `twice` | it is done twice |
//! | `again` | it is done, and once more after the next KVM_RUN of that vCPU |
//! | `late` | it is done after the next KVM_RUN of that vCPU |
//! | `other` | it is done on another vCPU of the virtual machine |
//! | `flip=r15.3` | bit 3 of a member (or MSR `0xc0000082`, or register `0x80` of a local APIC) is inverted |
//! | `flip=@20.3` | bit 3 of the byte at offset 20 of the structure is inverted |
//! | `drop=r15` | a setter leaves a member as it is |
//! | `frozen` | a getter gives for ever what it gave first |
//! | `behind` | a getter gives what was right when it was called last |
//! | `cached` | a getter gives what was set last |
//! | `hide=95` | an extension is absent (number of the capability) |
//! | `claim=117` | an extension is there, with the value 1 |
//! | `count` | nothing; each call is noted as if something had been broken |
//! | `effective` | nothing; each call that changes something is noted, with its number |
//! | `empty`, `full` | a dirty log without and with all pages |
//! | `port`, `data`, `address` | the exit of a port or memory access has bit 0 of that inverted |
//! | `reason=10` | the reason of an exit is another one |
//! | `skip` | KVM_RUN with `immediate_exit`, which is to complete an instruction, does nothing and gives EINTR |
//! | `on` | KVM_RUN with `immediate_exit`, which is to complete an instruction, goes on in the guest |
//! | `forget` | what the guest wrote to memory is undone, page by page |
//! | `forget-page` | the same for the first page only |
//! | `scribble` | a byte of guest memory changes that the guest did not write |
//! | `warn` | the kernel's log gets a WARNING, once |
//! | `panic` | the kernel panics (in a booted kernel only, for whoever runs this as root) |
//! | `exit` | the program ends with status 0 |
//!
//! Further words say when: `from=5` from the fifth call on, `to=6` up to the sixth, `only=5` at the fifth call only,
//! `vm=2` in the second virtual machine only that got a slot or a vCPU. Calls are counted in the process, or
//! with `vm` in that virtual machine.

use crate::abi::{self, Field};

/// One thing that is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sabotage {
    /// As it was written.
    pub text: String,
    /// The request.
    pub(crate) request: u32,
    pub(crate) effect: Effect,
    /// From which call on, counted from 1.
    pub(crate) from: u64,
    /// Up to which call.
    pub(crate) to: u64,
    /// In which virtual machine, counted from 1.
    pub(crate) vm: Option<u64>,
    /// How often the call was made where this applies.
    pub(crate) calls: u64,
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Fail(i32),
    Lie,
    Twice,
    Again,
    Late,
    Other,
    Flip(Place, u32),
    Drop(Place),
    Frozen,
    Behind,
    Cached,
    Hide(u64),
    Claim(u64),
    Count,
    Effective,
    DirtyLog { full: bool },
    Port,
    Data,
    Address,
    Reason(u32),
    Skip,
    On,
    Forget { page: bool },
    Scribble,
    Warn,
    Panic,
    Exit,
}

/// Where in a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Field(Field),
    Msr(u32),
}

/// The text makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSpec {
    /// The first word.
    #[error("no call that can be broken is called `{0}`")]
    Call(String),
    /// The second word, or what follows it.
    #[error("`{0}` makes no sense for {1}")]
    Word(String, String),
    /// There is no second word.
    #[error("what becomes of {0} is missing")]
    NoEffect(String),
}

/// Sabotages as text.
///
/// # Errors
/// If a word makes no sense.
pub fn parse(text: &str) -> Result<Vec<Sabotage>, BadSpec> {
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    parts.map(one).collect()
}

fn one(text: &str) -> Result<Sabotage, BadSpec> {
    let mut words = text.split(':');
    let name = words.next().unwrap_or_default();
    let known = abi::CALLS.iter().find(|call| call.0 == name);
    let &(_, request) = known.ok_or_else(|| BadSpec::Call(name.to_owned()))?;
    let word = words.next().ok_or_else(|| BadSpec::NoEffect(name.to_owned()))?;
    let bad = |word: &str| BadSpec::Word(word.to_owned(), name.to_owned());
    let mut sabotage = Sabotage {
        text: text.to_owned(),
        request,
        effect: effect(request, word).ok_or_else(|| bad(word))?,
        from: 1,
        to: u64::MAX,
        vm: None,
        calls: 0,
    };
    for word in words {
        let (key, value) = word.split_once('=').ok_or_else(|| bad(word))?;
        let value: u64 = value.parse().map_err(|_| bad(word))?;
        match key {
            "from" => sabotage.from = value,
            "to" => sabotage.to = value,
            "only" => (sabotage.from, sabotage.to) = (value, value),
            "vm" => sabotage.vm = Some(value),
            _ => return Err(bad(word)),
        }
    }
    Ok(sabotage)
}

fn effect(request: u32, word: &str) -> Option<Effect> {
    let (key, value) = word.split_once('=').unwrap_or((word, ""));
    let is_run = request == abi::KVM_RUN;
    let is_dirty_log = request & 0xff == 0x42;
    Some(match key {
        "fail" => Effect::Fail(errno(value)?),
        "lie" => Effect::Lie,
        "twice" => Effect::Twice,
        "again" => Effect::Again,
        "late" => Effect::Late,
        "other" => Effect::Other,
        "flip" => {
            let (name, bit) = value.rsplit_once('.')?;
            let (place, bit): (Place, u32) = (place(request, name)?, bit.parse().ok()?);
            let width = match place {
                Place::Field(field) => field.width,
                Place::Msr(_) => 8,
            };
            return (bit < width as u32 * 8).then_some(Effect::Flip(place, bit));
        }
        "drop" => Effect::Drop(place(request, value)?),
        "frozen" if abi::is_getter(request) => Effect::Frozen,
        "behind" if abi::is_getter(request) => Effect::Behind,
        "cached" => abi::setter_of(request).map(|_| Effect::Cached)?,
        "hide" if request == 0xae03 => Effect::Hide(value.parse().ok()?),
        "claim" if request == 0xae03 => Effect::Claim(value.parse().ok()?),
        "count" => Effect::Count,
        "effective" => Effect::Effective,
        "empty" if is_dirty_log => Effect::DirtyLog { full: false },
        "full" if is_dirty_log => Effect::DirtyLog { full: true },
        "port" if is_run => Effect::Port,
        "data" if is_run => Effect::Data,
        "address" if is_run => Effect::Address,
        "reason" if is_run => Effect::Reason(value.parse().ok()?),
        "skip" if is_run => Effect::Skip,
        "on" if is_run => Effect::On,
        "forget" if is_run => Effect::Forget { page: false },
        "forget-page" if is_run => Effect::Forget { page: true },
        "scribble" if is_run => Effect::Scribble,
        "warn" => Effect::Warn,
        "panic" => Effect::Panic,
        "exit" => Effect::Exit,
        _ => return None,
    })
}

fn place(request: u32, name: &str) -> Option<Place> {
    if let Some(offset) = name.strip_prefix('@') {
        let offset: usize = offset.parse().ok()?;
        // A list of MSRs is as long as it is.
        let is_list = matches!(request, abi::KVM_GET_MSRS | abi::KVM_SET_MSRS);
        let field = Field { offset, width: 1 };
        return (is_list || offset < abi::size(request)).then_some(Place::Field(field));
    }
    if matches!(request, abi::KVM_GET_MSRS | abi::KVM_SET_MSRS) {
        let index = u32::from_str_radix(name.strip_prefix("0x")?, 16).ok()?;
        return Some(Place::Msr(index));
    }
    abi::field(request, name).map(Place::Field)
}

fn errno(name: &str) -> Option<i32> {
    Some(match name {
        "EPERM" => libc::EPERM,
        "ENOENT" => libc::ENOENT,
        "EINTR" => libc::EINTR,
        "EIO" => libc::EIO,
        "EAGAIN" => libc::EAGAIN,
        "ENOMEM" => libc::ENOMEM,
        "EACCES" => libc::EACCES,
        "EFAULT" => libc::EFAULT,
        "EBUSY" => libc::EBUSY,
        "EEXIST" => libc::EEXIST,
        "ENODEV" => libc::ENODEV,
        "EINVAL" => libc::EINVAL,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_what_and_when() {
        let read = parse("KVM_GET_REGS:flip=r15.3:from=5; KVM_NMI:late:only=2:vm=3").expect("right");
        let [flip, late] = &read[..] else {
            panic!("{read:?}")
        };
        let place = Place::Field(Field {
            offset: 120,
            width: 8,
        });
        assert_eq!(flip.effect, Effect::Flip(place, 3));
        assert_eq!((flip.from, flip.to, flip.vm), (5, u64::MAX, None));
        assert_eq!((late.from, late.to, late.vm), (2, 2, Some(3)));
        assert_eq!(late.effect, Effect::Late);
        assert_eq!(parse(""), Ok(vec![]));
        let byte = parse("KVM_GET_VCPU_EVENTS:flip=@20.7").expect("right");
        let place = Place::Field(Field { offset: 20, width: 1 });
        assert_eq!(byte[0].effect, Effect::Flip(place, 7));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "KVM_GET_REG:lie",
            "KVM_GET_REGS",
            "KVM_GET_REGS:flip=r16.0",
            "KVM_GET_REGS:flip=r15.64",
            "KVM_GET_REGS:flip=@144.0",
            "KVM_GET_REGS:flip=@8.8",
            "KVM_NMI:forget",
            "KVM_NMI:lie:from",
            "KVM_NMI:lie:after=2",
            "KVM_NMI:fail=EWHAT",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn members_lie_in_their_structures() {
        for (call, name) in [
            (0x8090_ae81, "rflags"),
            (0x8138_ae83, "ldt.unusable"),
            (0x8138_ae83, "apic-base"),
            (0x8040_ae9f, "triple-fault.pending"),
            (0x8080_aea1, "dr7"),
            (0x8400_ae8e, "0x3f0"),
            (0x8004_ae98, "mp-state"),
        ] {
            let field = abi::field(call, name).expect(name);
            assert!(field.offset + field.width <= abi::size(call), "{name}");
        }
    }
}
