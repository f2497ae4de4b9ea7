//! Named pipes between our own programs.
//!
//! Source: learn.microsoft.com `CreateNamedPipeW`, "Named Pipe Security and Access Rights". One instance, first of
//! its name, no client from another machine. The name has 128 random bits, so nobody can be there first; the boundary
//! is its DACL. Invariant: which process is at the other end is known before a byte of it is read.

use std::io::{self, Read, Write};
use std::mem::size_of;
use std::os::windows::io::{AsHandle as _, AsRawHandle as _, OwnedHandle};

use windows_sys::Win32::Foundation::{
    ERROR_BROKEN_PIPE, ERROR_IO_PENDING, ERROR_PIPE_CONNECTED, GENERIC_READ, GENERIC_WRITE, HANDLE,
};
use windows_sys::Win32::Security::SECURITY_ATTRIBUTES;
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, OPEN_EXISTING,
    PIPE_ACCESS_DUPLEX, ReadFile, SECURITY_IDENTIFICATION, SECURITY_SQOS_PRESENT, WriteFile,
};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Pipes::{
    ConnectNamedPipe, CreateNamedPipeW, GetNamedPipeClientProcessId, GetNamedPipeServerProcessId,
    PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE, PIPE_WAIT,
};
use windows_sys::core::BOOL;

use ringfence_nt::SecurityDescriptor;

use super::access::descriptor_bytes;
use super::error::{CallError, Win32Error, check};
use super::handle::{Signal, Waited, adopt, wait};
use super::random;
use super::wide::WideText;

/// What a pipe holds in each direction, in bytes.
const BUFFER: u32 = 64 << 10;

/// The name of a pipe of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipeName(String);

impl PipeName {
    /// A new name with 128 bits of the system's generator in it.
    ///
    /// # Errors
    /// The generator's.
    pub fn random() -> Result<Self, CallError> {
        let mut bytes = [0; 16];
        random::fill(&mut bytes)?;
        let id = u128::from_ne_bytes(bytes);
        Ok(Self(format!(r"\\.\pipe\ringfence-{id:032x}")))
    }

    /// Takes the name that another program of ours has made.
    ///
    /// # Security
    /// `None` for every other name: it could be a path to somewhere else, or on another machine.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(r"\\.\pipe\ringfence-")?;
        let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (digits.len() == 32 && digits.bytes().all(hexadecimal)).then(|| Self(text.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn wide(&self) -> Result<WideText, CallError> {
        WideText::new(&self.0)
            .map_err(|_| CallError::new("CreateNamedPipeW", &self.0, Win32Error(123)))
    }
}

/// The end of a pipe that waits for one client.
#[derive(Debug)]
pub struct PipeServer {
    pipe: OwnedHandle,
    name: PipeName,
}

/// A connected pipe and the process at its other end.
#[derive(Debug)]
pub struct Connection {
    /// Bytes to and from the other end.
    pub stream: PipeStream,
    /// The other end's process.
    pub peer: u32,
}

/// Bytes to and from the other end; blocking, and one thread may read while another writes.
///
/// Overlapped below: on a synchronous handle a waiting read would hold up every write.
#[derive(Debug)]
pub struct PipeStream(OwnedHandle);

impl Read for &PipeStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        let transferred = self.transfer(|pipe, overlapped| {
            // SAFETY: the pipe is open; buffer and structure live until the operation is over, which `transfer` waits for.
            unsafe {
                ReadFile(
                    pipe,
                    buffer.as_mut_ptr(),
                    length,
                    std::ptr::null_mut(),
                    overlapped,
                )
            }
        });
        match transferred {
            // The other end was closed: the end of the stream.
            Err(error) if error.raw_os_error() == Some(ERROR_BROKEN_PIPE.cast_signed()) => Ok(0),
            other => other,
        }
    }
}

impl Write for &PipeStream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let length = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        self.transfer(|pipe, overlapped| {
            // SAFETY: as in `read`.
            unsafe {
                WriteFile(
                    pipe,
                    buffer.as_ptr(),
                    length,
                    std::ptr::null_mut(),
                    overlapped,
                )
            }
        })
    }

    /// What was written is in the pipe; waiting until it was read would let the other end hold us up.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PipeStream {
    /// Starts an operation and waits until it is over.
    fn transfer(&self, start: impl FnOnce(HANDLE, *mut OVERLAPPED) -> BOOL) -> io::Result<usize> {
        let event = Signal::new().map_err(io::Error::other)?;
        let mut overlapped = OVERLAPPED {
            hEvent: event.as_handle().as_raw_handle(),
            ..OVERLAPPED::default()
        };
        let pipe = self.0.as_raw_handle();
        if start(pipe, &raw mut overlapped) == 0 {
            let error = Win32Error::last();
            if error.0 != ERROR_IO_PENDING {
                return Err(io::Error::from_raw_os_error(error.0.cast_signed()));
            }
        }
        let mut bytes = 0;
        // SAFETY: the pipe is open and the operation is this structure's; waiting ends only when it is over.
        let done = unsafe { GetOverlappedResult(pipe, &raw const overlapped, &raw mut bytes, 1) };
        if done == 0 {
            return Err(io::Error::from_raw_os_error(
                Win32Error::last().0.cast_signed(),
            ));
        }
        usize::try_from(bytes).map_err(io::Error::other)
    }
}

impl PipeServer {
    /// Makes a pipe that whoever `descriptor` lets in may connect to, once.
    ///
    /// # Errors
    /// `CreateNamedPipeW`'s: 5 (access denied) when a pipe of this name exists; 1338 for a descriptor without bytes.
    pub fn new(name: PipeName, descriptor: &SecurityDescriptor) -> Result<Self, CallError> {
        const CALL: &str = "CreateNamedPipeW";
        let wide = name.wide()?;
        let descriptor = descriptor_bytes(descriptor, CALL)?;
        let attributes = SECURITY_ATTRIBUTES {
            nLength: u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).unwrap_or(0),
            lpSecurityDescriptor: descriptor.as_ptr().cast_mut().cast(),
            bInheritHandle: 0,
        };
        // SAFETY: name and attributes live for the call; the descriptor is only read.
        let handle = unsafe {
            CreateNamedPipeW(
                wide.as_ptr(),
                PIPE_ACCESS_DUPLEX | FILE_FLAG_FIRST_PIPE_INSTANCE | FILE_FLAG_OVERLAPPED,
                PIPE_TYPE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
                1,
                BUFFER,
                BUFFER,
                0,
                &raw const attributes,
            )
        };
        // SAFETY: it was just made, or is INVALID_HANDLE_VALUE.
        let pipe = unsafe { adopt(handle) }.ok_or_else(|| CallError::last(CALL, name.as_str()))?;
        Ok(Self { pipe, name })
    }

    /// Waits for the client, for at most `milliseconds`.
    ///
    /// # Errors
    /// The calls'; 258 (`WAIT_TIMEOUT`) when nobody came.
    pub fn accept(self, milliseconds: u32) -> Result<Connection, CallError> {
        const CALL: &str = "ConnectNamedPipe";
        let name = self.name.as_str();
        let event = Signal::new()?;
        let mut overlapped = OVERLAPPED {
            hEvent: event.as_handle().as_raw_handle(),
            ..OVERLAPPED::default()
        };
        let pipe = self.pipe.as_raw_handle();
        // SAFETY: the pipe is open; the structure lives until the operation has ended: it is waited for or cancelled.
        let done = unsafe { ConnectNamedPipe(pipe, &raw mut overlapped) };
        if done == 0 {
            match Win32Error::last().0 {
                ERROR_PIPE_CONNECTED => {}
                ERROR_IO_PENDING => {
                    let waited = wait(event.as_handle(), Some(milliseconds));
                    if !matches!(waited, Ok(Waited::Signalled)) {
                        // SAFETY: the pipe is open and the operation is its own.
                        unsafe { CancelIoEx(pipe, &raw const overlapped) };
                    }
                    let mut bytes = 0;
                    // SAFETY: waits until the operation is over, so that nobody writes to the structure afterwards.
                    let over = unsafe {
                        GetOverlappedResult(pipe, &raw const overlapped, &raw mut bytes, 1)
                    };
                    let ended = check(over, CALL, name);
                    if waited? == Waited::TimedOut && ended.is_err() {
                        return Err(CallError::new(CALL, name, Win32Error(258)));
                    }
                    ended?;
                }
                other => return Err(CallError::new(CALL, name, Win32Error(other))),
            }
        }
        let mut peer = 0;
        // SAFETY: the pipe is connected; the number is ours to write.
        let known = unsafe { GetNamedPipeClientProcessId(pipe, &raw mut peer) };
        check(known, "GetNamedPipeClientProcessId", name)?;
        Ok(Connection {
            stream: PipeStream(self.pipe),
            peer,
        })
    }
}

/// Connects to the pipe `name`, whose server may learn who we are and not act as us.
///
/// # Errors
/// `CreateFileW`'s.
pub fn connect(name: &PipeName) -> Result<Connection, CallError> {
    let wide = name.wide()?;
    // SAFETY: the name lives for the call; no attributes and no template are given.
    let handle = unsafe {
        CreateFileW(
            wide.as_ptr(),
            GENERIC_READ | GENERIC_WRITE,
            0,
            std::ptr::null(),
            OPEN_EXISTING,
            FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | SECURITY_IDENTIFICATION,
            std::ptr::null_mut(),
        )
    };
    // SAFETY: it was just opened, or is INVALID_HANDLE_VALUE.
    let pipe =
        unsafe { adopt(handle) }.ok_or_else(|| CallError::last("CreateFileW", name.as_str()))?;
    let mut peer = 0;
    // SAFETY: the pipe is open; the number is ours to write.
    let known = unsafe { GetNamedPipeServerProcessId(pipe.as_raw_handle(), &raw mut peer) };
    check(known, "GetNamedPipeServerProcessId", name.as_str())?;
    Ok(Connection {
        stream: PipeStream(pipe),
        peer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everyone() -> SecurityDescriptor {
        SecurityDescriptor::from_sddl("O:WDG:WDD:(A;;GA;;;WD)").unwrap()
    }

    // enforced-by-wine: bytes and the process at the other end; not the DACL, and not the first instance.
    #[test]
    fn both_ends_know_each_other_and_read_while_they_write() {
        let name = PipeName::random().unwrap();
        let server = PipeServer::new(name.clone(), &everyone()).unwrap();
        let client = std::thread::spawn(move || {
            let connection = connect(&name).unwrap();
            let mut stream = &connection.stream;
            let mut answer = [0; 4];
            std::thread::scope(|scope| {
                scope.spawn(|| (&connection.stream).write_all(b"ping").unwrap());
                stream.read_exact(&mut answer).unwrap();
            });
            (connection.peer, answer)
        });
        let connection = server.accept(10_000).unwrap();
        let mut stream = &connection.stream;
        let mut question = [0; 4];
        stream.read_exact(&mut question).unwrap();
        stream.write_all(b"pong").unwrap();
        let (peer, answer) = client.join().unwrap();
        assert_eq!((&question, &answer), (b"ping", b"pong"));
        assert_eq!(
            (peer, connection.peer),
            (std::process::id(), std::process::id())
        );
        assert_eq!(stream.read(&mut question).unwrap(), 0, "the client is gone");
    }

    #[test]
    fn nobody_comes() {
        let server = PipeServer::new(PipeName::random().unwrap(), &everyone()).unwrap();
        assert_eq!(server.accept(50).unwrap_err().error, Win32Error(258));
    }

    #[test]
    fn only_our_own_names_are_taken() {
        let name = PipeName::random().unwrap();
        assert_eq!(PipeName::parse(name.as_str()), Some(name));
        for other in [
            r"\\.\pipe\ringfence-1",
            r"\\server\pipe\ringfence-00000000000000000000000000000000",
            r"\\.\pipe\ringfence-0000000000000000000000000000000G",
            r"C:\x",
        ] {
            assert_eq!(PipeName::parse(other), None, "{other}");
        }
    }
}
