//! What the agent in a booted kernel tells the host, and how it looks on the wire.
//!
//! A frame is four bytes of [`MAGIC`], the build of the agent (see [`BUILD`]), 64 bits, the length
//! of the payload in bytes and its CRC-32, both 32 bits, all little-endian, and the payload: one
//! [`Message`] in postcard's encoding, as an LZ4 block with its size before it. An emulated serial
//! port carries less than a megabyte per second, and the observations of a transcript resemble
//! each other.
//!
//! Agent and judge must be of one build, since nothing else says that they mean the same by a
//! message: the job begins with the build of the judge, and every frame has the agent's.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use spec_model::scenario::Scenario;

use crate::batch::item::{Seen, Work};
use crate::target::complaint::Complaint;
use crate::target::probe::Probe;
use crate::target::{Identity, RunOptions};

/// Where the agent finds its job.
pub(super) const JOB: &str = "/job";
/// Where the agent finds the modules; their names sort in the order in which they load.
pub(super) const MODULES: &str = "/modules";

/// What the agent writes into the kernel's log before it loads modules: what stands before it on the
/// console is not about KVM.
pub(super) const BOUNDARY: &str = "conform: KVM is tested from here on";

/// What this program was built from: a fingerprint of its sources (`build.rs`).
pub(super) const BUILD: u64 = match u64::from_str_radix(env!("CONFORM_BUILD"), 16) {
    Ok(build) => build,
    Err(_) => panic!("build.rs writes a number in base 16"),
};

/// Start of a frame. Not text, so that a stray console line is never taken for one.
const MAGIC: [u8; 4] = [0xf5, b'C', b'F', 0x0a];
/// Bytes before the payload.
const HEADER: usize = 20;
/// A longer payload is taken for damage, in bytes.
const LONGEST_PAYLOAD: usize = 64 << 20;
/// A longer message is taken for damage, in bytes.
const LONGEST_MESSAGE: usize = 256 << 20;

/// What the agent is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job<'a> {
    pub options: RunOptions,
    /// Whether to try out what the target does, before anything else.
    pub probe: bool,
    /// Each with the index by which its result is known.
    pub scenarios: Vec<(u32, Cow<'a, Scenario>)>,
    /// Scenarios of a family, to run after those.
    #[serde(borrow)]
    pub work: Option<Work<'a>>,
    /// Each of these is announced, because the last boot was lost among them.
    pub careful: bool,
}

impl Job<'_> {
    /// The job as the agent finds it: the build that it is for, 8 bytes little-endian, and itself.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_extend(self, BUILD.to_le_bytes().to_vec())
    }

    /// The job of a file.
    ///
    /// # Errors
    /// If it is for another build, or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Job<'_>, NoJob> {
        let (build, job) = bytes.split_first_chunk().ok_or(NoJob::Cut)?;
        match u64::from_le_bytes(*build) {
            BUILD => Ok(postcard::from_bytes(job)?),
            other => Err(NoJob::OtherBuild(other)),
        }
    }
}

/// Why the agent has no job.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoJob {
    #[error("the job is cut short")]
    Cut,
    #[error("the job is for build {0:016x} of this program, and the agent is build {BUILD:016x}")]
    OtherBuild(u64),
    #[error("the job is damaged: {0}")]
    Damaged(#[from] postcard::Error),
}

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// It runs, and this is its KVM.
    Hello(Box<Identity>),
    /// It tried something out.
    Probed(Probe),
    /// It begins a scenario.
    Starting(u32),
    /// It is done with some scenarios.
    Results(Vec<Told>),
    /// Its kernel complained when the scenario with that number was over already, or none had run.
    Complained(Option<u32>, Vec<Complaint>),
    /// It is done with all of them.
    Finished,
    /// It cannot run any scenario.
    Fatal(String),
}

/// What came of a scenario, by its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    pub number: u32,
    pub seen: Seen,
    /// What the kernel complained of meanwhile.
    pub complaints: Vec<Complaint>,
}

/// A message as a frame.
///
/// # Errors
/// If it cannot be encoded or is too long.
pub(super) fn encode(message: &Message) -> Result<Vec<u8>, postcard::Error> {
    let payload = lz4_flex::block::compress_prepend_size(&postcard::to_stdvec(message)?);
    let length = u32::try_from(payload.len()).map_err(|_| postcard::Error::SerializeBufferFull)?;
    if payload.len() > LONGEST_PAYLOAD {
        return Err(postcard::Error::SerializeBufferFull);
    }
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&BUILD.to_le_bytes());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&crc32(&payload).to_le_bytes());
    frame.extend_from_slice(&payload);
    Ok(frame)
}

/// The bytes that arrived are not a frame of an agent of this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Corrupt {
    #[error("the agent sent a damaged frame")]
    Damaged,
    #[error(
        "the agent in the kernel is build {0:016x} of this program and this is build {BUILD:016x}: they were not \
         built from the same sources; build both again (`conform provision` builds the one for arm64)"
    )]
    OtherBuild(u64),
}

/// Puts messages together from bytes as they arrive.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    bytes: Vec<u8>,
    /// A frame was seen. Before that, bytes that the firmware or the kernel's probing of
    /// the port may leave are skipped; after that, nothing but frames is expected.
    in_step: bool,
}

impl Decoder {
    /// Takes bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, if all of it has arrived.
    pub fn next(&mut self) -> Result<Option<Message>, Corrupt> {
        if !self.in_step {
            let start = self.bytes.windows(MAGIC.len()).position(|window| window == MAGIC);
            let noise = start.unwrap_or(self.bytes.len().saturating_sub(MAGIC.len() - 1));
            self.bytes.drain(..noise);
            self.in_step = start.is_some();
        }
        let Some((header, rest)) = self.bytes.split_at_checked(HEADER) else {
            return Ok(None);
        };
        let (Some(magic), Some(build), Some(length), Some(checksum)) = (
            word(header, 0),
            header.get(4..).and_then(|bytes| bytes.first_chunk()),
            word(header, 12),
            word(header, 16),
        ) else {
            return Err(Corrupt::Damaged);
        };
        let length = usize::try_from(length).map_err(|_| Corrupt::Damaged)?;
        if magic != u32::from_le_bytes(MAGIC) || length > LONGEST_PAYLOAD {
            return Err(Corrupt::Damaged);
        }
        match u64::from_le_bytes(*build) {
            BUILD => {}
            other => return Err(Corrupt::OtherBuild(other)),
        }
        let Some(payload) = rest.get(..length) else {
            return Ok(None);
        };
        if crc32(payload) != checksum {
            return Err(Corrupt::Damaged);
        }
        let message = postcard::from_bytes(&decompress(payload)?).map_err(|_| Corrupt::Damaged)?;
        self.bytes.drain(..HEADER + length);
        Ok(Some(message))
    }
}

fn decompress(payload: &[u8]) -> Result<Vec<u8>, Corrupt> {
    let (size, block) = lz4_flex::block::uncompressed_size(payload).map_err(|_| Corrupt::Damaged)?;
    if size > LONGEST_MESSAGE {
        return Err(Corrupt::Damaged);
    }
    lz4_flex::block::decompress(block, size).map_err(|_| Corrupt::Damaged)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    word.try_into().ok().map(u32::from_le_bytes)
}

/// CRC-32 as in IEEE 802.3, a nibble at a time.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 16] = {
        let mut table = [0; 16];
        let mut index = 0;
        while index < 16 {
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 4 {
                value = value >> 1 ^ if value & 1 == 1 { 0xedb8_8320 } else { 0 };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| {
        let crc = crc ^ u32::from(*byte);
        let crc = crc >> 4 ^ TABLE[(crc & 15) as usize];
        crc >> 4 ^ TABLE[(crc & 15) as usize]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Run;

    fn result(number: u32, text: String) -> Message {
        Message::Results(vec![Told {
            number,
            seen: Seen::Other(Box::new(Run::Broken(text))),
            complaints: Vec::new(),
        }])
    }

    fn frames() -> (Vec<Message>, Vec<u8>) {
        let messages = vec![
            Message::Starting(3),
            result(3, (0..1000).map(|number| format!("{number} ")).collect()),
            Message::Fatal("no".to_owned()),
            Message::Finished,
        ];
        let bytes = messages
            .iter()
            .flat_map(|message| encode(message).unwrap())
            .collect();
        (messages, bytes)
    }

    fn decode(chunks: &[&[u8]]) -> Result<Vec<Message>, Corrupt> {
        let mut decoder = Decoder::default();
        let mut messages = Vec::new();
        for chunk in chunks {
            decoder.push(chunk);
            while let Some(message) = decoder.next()? {
                messages.push(message);
            }
        }
        Ok(messages)
    }

    #[test]
    fn the_checksum_is_that_of_ieee_802_3() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn frames_arrive_in_any_pieces() {
        let (messages, bytes) = frames();
        for size in [1, 2, 7, 13, bytes.len()] {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(decode(&chunks).as_ref(), Ok(&messages), "pieces of {size}");
        }
    }

    #[test]
    fn noise_is_skipped_before_the_first_frame_only() {
        let (messages, bytes) = frames();
        assert_eq!(decode(&[b"\xff\xf5CSeaBIOS", &bytes]).as_ref(), Ok(&messages));
        assert_eq!(
            decode(&[&bytes, b"Oops: general protection"]),
            Err(Corrupt::Damaged)
        );
    }

    #[test]
    fn frames_and_jobs_of_another_build_are_refused() {
        let mut frame = encode(&Message::Finished).unwrap();
        frame[4] ^= 1;
        let other = Corrupt::OtherBuild(BUILD ^ 1);
        assert_eq!(decode(&[&frame]), Err(other));
        assert!(other.to_string().contains("build both again"), "{other}");
        let job = Job {
            options: RunOptions::default(),
            probe: false,
            scenarios: Vec::new(),
            work: None,
            careful: false,
        };
        let mut bytes = job.encode().unwrap();
        assert_eq!(Job::decode(&bytes).unwrap(), job);
        bytes[0] ^= 1;
        assert!(matches!(Job::decode(&bytes), Err(NoJob::OtherBuild(_))));
        assert!(matches!(Job::decode(&bytes[..7]), Err(NoJob::Cut)));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let first = encode(&Message::Starting(7)).unwrap();
        let second = encode(&result(7, "why".to_owned())).unwrap();
        for bit in 0..second.len() * 8 {
            let mut damaged = second.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // A longer length waits for bytes that never come; the host's patience ends that.
            let outcome = decode(&[&first, &damaged]);
            let waits = (96..128).contains(&bit) && outcome == Ok(vec![Message::Starting(7)]);
            assert!(outcome.is_err() || waits, "bit {bit}: {outcome:?}");
        }
    }
}
