//! What the agent in a booted kernel tells the host, and how it looks on the wire.
//!
//! A frame is four bytes of [`MAGIC`], the length of the payload in bytes and its CRC-32,
//! both 32 bits little-endian, and the payload: one [`Message`] in postcard's encoding,
//! as an LZ4 block with its size before it. An emulated serial port carries less than a
//! megabyte per second, and the observations of a transcript resemble each other.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use spec_model::scenario::Scenario;

use crate::batch::item::{Seen, Work};
use crate::target::probe::Probe;
use crate::target::{Identity, Run, RunOptions};

/// Where the agent finds its job.
pub(super) const JOB: &str = "/job";
/// Where the agent finds the modules; their names sort in the order in which they load.
pub(super) const MODULES: &str = "/modules";

/// Start of a frame. Not text, so that a stray console line is never taken for one.
const MAGIC: [u8; 4] = [0xf5, b'C', b'F', 0x0a];
/// Bytes before the payload.
const HEADER: usize = 12;
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

/// What the agent says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// It runs, and this is its KVM.
    Hello(Identity),
    /// It tried something out.
    Probed(Probe),
    /// It begins a scenario.
    Starting(u32),
    /// It is done with a scenario.
    Result(u32, Run),
    /// It is done with some scenarios of the family.
    Seen(Vec<(u32, Seen)>),
    /// It is done with all of them.
    Finished,
    /// It cannot run any scenario.
    Fatal(String),
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
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&crc32(&payload).to_le_bytes());
    frame.extend_from_slice(&payload);
    Ok(frame)
}

/// The bytes that arrived are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent sent a damaged frame")]
pub(super) struct Corrupt;

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
        let (Some(magic), Some(length), Some(checksum)) = (word(header, 0), word(header, 4), word(header, 8))
        else {
            return Err(Corrupt);
        };
        let length = usize::try_from(length).map_err(|_| Corrupt)?;
        if magic != u32::from_le_bytes(MAGIC) || length > LONGEST_PAYLOAD {
            return Err(Corrupt);
        }
        let Some(payload) = rest.get(..length) else {
            return Ok(None);
        };
        if crc32(payload) != checksum {
            return Err(Corrupt);
        }
        let message = postcard::from_bytes(&decompress(payload)?).map_err(|_| Corrupt)?;
        self.bytes.drain(..HEADER + length);
        Ok(Some(message))
    }
}

fn decompress(payload: &[u8]) -> Result<Vec<u8>, Corrupt> {
    let (size, block) = lz4_flex::block::uncompressed_size(payload).map_err(|_| Corrupt)?;
    if size > LONGEST_MESSAGE {
        return Err(Corrupt);
    }
    lz4_flex::block::decompress(block, size).map_err(|_| Corrupt)
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

    fn frames() -> (Vec<Message>, Vec<u8>) {
        let messages = vec![
            Message::Starting(3),
            Message::Result(
                3,
                Run::Broken((0..1000).map(|number| format!("{number} ")).collect()),
            ),
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
        assert_eq!(decode(&[&bytes, b"Oops: general protection"]), Err(Corrupt));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let first = encode(&Message::Starting(7)).unwrap();
        let second = encode(&Message::Result(7, Run::Broken("why".to_owned()))).unwrap();
        for bit in 0..second.len() * 8 {
            let mut damaged = second.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // A longer length waits for bytes that never come; the host's patience ends that.
            let outcome = decode(&[&first, &damaged]);
            let waits = (32..64).contains(&bit) && outcome == Ok(vec![Message::Starting(7)]);
            assert!(outcome == Err(Corrupt) || waits, "bit {bit}: {outcome:?}");
        }
    }
}
