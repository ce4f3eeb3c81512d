//! What the command line and the keeper say to each other.
//!
//! One JSON object a line, over a stream socket of their own. Before the first line the command line
//! passes its standard input along as a file descriptor, because the keeper's own standard input *is*
//! the socket; the keeper hands it on to the trampoline in the same way. The end of the stream means
//! that the other side has died, and nothing else means it.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Longest line that either side accepts, in bytes.
const LINE_BYTES_MAX: usize = 4 * 1_024;

/// What the command line tells the keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToKeeper {
    /// Let the command begin. The belief that the lock is held ends at this moment of
    /// `CLOCK_BOOTTIME`, in microseconds.
    Go(u64),
    /// The belief now ends at this moment; earlier than before when the lock was lost.
    Deadline(u64),
    /// Send this signal to the command's process group.
    Signal(i32),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It exited with this status.
    Exited(i32),
    /// It was killed by this signal.
    Killed(i32),
}

impl Ending {
    /// Returns the exit status that shows this ending to others: 128+n for a signal, as shells do.
    #[must_use]
    pub fn status(self) -> u8 {
        let status = match self {
            Self::Exited(status) => status,
            Self::Killed(signal) => 128 + signal,
        };
        u8::try_from(status & 0xff).unwrap_or(u8::MAX)
    }
}

/// What the keeper tells the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromKeeper {
    /// The trampoline stands ready; its process id is the id of the command's process group.
    Spawned(i32),
    /// The command was let begin, and goes by the belief that ends at this moment: what was heard
    /// last, said again, so that a frozen keeper is known by its silence.
    Follows(u64),
    /// The end of the belief came so near that the command was told to end.
    Warned,
    /// The end of the belief came so near that the command was killed.
    Killed,
    /// A signal was for the command, and none of its processes may be signalled: they have changed
    /// their user. Said once.
    Refused,
    /// The end of the belief came near, and the command runs on because it cannot be signalled. Said
    /// once.
    RanOn,
    /// The command was stopped by this signal.
    Stopped(i32),
    /// The command ended; others of its group may still live.
    Ended(Ending),
    /// Nobody of the command's process group lives any more. The last message.
    Gone,
}

/// Encodes a message as one line.
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Collects bytes until there are whole lines.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
}

impl Lines {
    /// Adds what was received.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next message, or nothing if no whole line is there.
    ///
    /// # Errors
    /// If the line is no message, or longer than any message.
    pub fn next_message<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') else {
            if self.bytes.len() > LINE_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "line too long"));
            }
            return Ok(None);
        };
        let line: Vec<u8> = self.bytes.drain(..=end).collect();
        Ok(Some(serde_json::from_slice(&line)?))
    }
}

/// Passes `descriptor` to whoever reads the other end of `socket`.
///
/// # Errors
/// Those of `sendmsg(2)`.
pub fn send_descriptor(socket: impl AsFd, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    let fits = ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    debug_assert!(fits, "the space was made for one descriptor");
    let sent = sendmsg(
        socket,
        &[IoSlice::new(b"d")],
        &mut ancillary,
        SendFlags::NOSIGNAL,
    )?;
    if sent == 1 {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

/// Waits for the descriptor that [`send_descriptor`] passes.
///
/// # Errors
/// `UnexpectedEof` if the other side is gone, `InvalidData` if it sent something else, otherwise
/// those of `recvmsg(2)`.
pub fn receive_descriptor(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut byte = [0_u8; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut byte)];
        match recvmsg(&socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message
            && let Some(descriptor) = descriptors.into_iter().next()
        {
            return Ok(descriptor);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "expected a file descriptor",
    ))
}

#[cfg(test)]
mod tests {
    use super::{Ending, FromKeeper, Lines, ToKeeper, encode};

    #[test]
    fn messages_survive_being_cut_anywhere() {
        let sent = [
            ToKeeper::Go(7),
            ToKeeper::Deadline(u64::MAX),
            ToKeeper::Signal(15),
        ];
        let bytes: Vec<u8> = sent.iter().flat_map(|m| encode(m).unwrap()).collect();
        for cut in 0..bytes.len() {
            let mut lines = Lines::default();
            let mut received = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                lines.push(part);
                while let Some(message) = lines.next_message::<ToKeeper>().unwrap() {
                    received.push(message);
                }
            }
            assert_eq!(received, sent);
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        let mut lines = Lines::default();
        lines.push(b"{\"dance\":1}\n");
        assert!(lines.next_message::<FromKeeper>().is_err());
        let mut endless = Lines::default();
        endless.push(&[b'x'; 5_000]);
        assert!(endless.next_message::<FromKeeper>().is_err());
    }

    #[test]
    fn signals_are_shown_as_shells_show_them() {
        assert_eq!(Ending::Exited(3).status(), 3);
        assert_eq!(Ending::Killed(15).status(), 143);
    }
}
