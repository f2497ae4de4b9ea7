//! The runner's process, seen from the harness: started once, closed to its own account, and connected.
//!
//! Invariant: the process at the other end of the pipe is the one that was started here; dropped, it is ended.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::windows::io::{AsHandle as _, BorrowedHandle};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ringfence_backend::Remains;
use ringfence_backend::frame::ReadError;
use ringfence_backend::windows::runner::{Event, FORMAT, Request};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_REPARSE_POINT, FILE_FLAG_OPEN_REPARSE_POINT,
    FILE_SHARE_READ,
};

use super::super::callers::{Callers, Questions};
use super::super::line::{Line, LineError};
use super::inbox::{End, Inbox};
use super::{OpenError, Order, SessionError};
use crate::sys::logon::{ForeignCommand, Logon, start_suspended_as};
use crate::sys::object;
use crate::sys::pipe::{Connection, PipeName, PipeServer, PipeStream};
use crate::sys::process::Child;

/// How long a runner may take to connect: its profile is loaded before it starts.
const PATIENCE_MILLISECONDS: u32 = 60_000;

/// The runner's process and the pipe to it.
#[derive(Debug)]
pub(in crate::launch) struct Runner {
    child: Child,
    stream: Arc<PipeStream>,
    line: Arc<Line>,
    questions: Questions,
    reader: Option<JoinHandle<()>>,
}

impl Runner {
    /// Logs on, starts the runner, closes its process to its own account before it runs, and waits for it.
    pub(in crate::launch) fn start(
        order: &Order<'_>,
        logon: Logon<'_>,
        desktop: &str,
    ) -> Result<Self, OpenError> {
        let (Some(pipe), Some(hardening)) = (&order.launch.pipe, &order.launch.runner) else {
            return Err(OpenError::Identity);
        };
        let name = PipeName::random().map_err(OpenError::Random)?;
        let server = PipeServer::new(name.clone(), &pipe.descriptor).map_err(OpenError::Pipe)?;
        let arguments = [OsString::from(name.as_str())];
        let directory = system_directory();
        let command = ForeignCommand {
            program: order.runner.as_os_str(),
            arguments: &arguments,
            directory: &directory,
            desktop: OsStr::new(desktop),
        };
        let child = start_suspended_as(logon, &command).map_err(|cause| OpenError::Start {
            user: logon.user.to_owned(),
            cause,
        })?;
        let child = EndedUnlessKept(Some(child));
        child.with(|child| {
            object::protect(child.thread(), &hardening.thread, "runner's first thread")?;
            object::protect(child.as_handle(), &hardening.process, "runner's process")
        })?;
        child.connect(server)
    }

    /// Takes a runner that was started by other means, suspended.
    #[cfg(test)]
    pub(in crate::launch) fn of(child: Child, server: PipeServer) -> Result<Self, OpenError> {
        EndedUnlessKept(Some(child)).connect(server)
    }

    /// Its number.
    pub(in crate::launch) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(in crate::launch) fn process(&self) -> BorrowedHandle<'_> {
        self.child.as_handle()
    }

    /// Puts what the runner says into `inbox`, until it says nothing more.
    pub(in crate::launch) fn read_into(&mut self, inbox: &Arc<Inbox>) {
        let (stream, inbox) = (Arc::clone(&self.stream), Arc::clone(inbox));
        let questions = self.questions.clone();
        let reader = std::thread::spawn(move || read(&stream, &inbox, &questions));
        self.reader = Some(reader);
    }

    /// Who may be asked whose processes are whose.
    pub(in crate::launch) fn callers(&self) -> Callers {
        Callers::through(self.questions.clone())
    }

    pub(in crate::launch) fn send(&mut self, request: &Request) -> Result<(), SessionError> {
        self.line.send(request).map_err(|error| match error {
            LineError::Frame(_) => SessionError::TooLong,
            LineError::Write(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                SessionError::Ended
            }
            LineError::Write(error) => SessionError::Write(error),
        })
    }

    /// Ends the runner, and with it its jobs.
    pub(in crate::launch) fn stop(&mut self, inbox: &Inbox) -> Remains {
        let _ = self.child.terminate(1);
        let ended = self.child.wait(Some(10_000));
        // A reader that waits for room goes on, and finds the end of the pipe.
        inbox.end(End::Closed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        match ended {
            Ok(Some(_)) if inbox.saw_closed() => Remains::Nothing,
            Ok(_) | Err(_) => Remains::Unknown,
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.child.terminate(1);
    }
}

fn read(stream: &PipeStream, inbox: &Inbox, questions: &Questions) {
    let mut stream = stream;
    loop {
        match FORMAT.read::<Event>(&mut stream) {
            Ok(Some(Event::Belongs { question, member })) => questions.answered(question, member),
            Ok(Some(event)) => inbox.put(event),
            Err(ReadError::Frame(_)) => return inbox.end(End::Nonsense),
            Ok(None) | Err(ReadError::Stream(_) | ReadError::Truncated) => {
                return inbox.end(End::Closed);
            }
        }
        while inbox.is_full() && !inbox.is_ended() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A runner that is not connected yet: ended where it does not come to that.
struct EndedUnlessKept(Option<Child>);

impl EndedUnlessKept {
    fn with<T>(
        &self,
        act: impl FnOnce(&Child) -> Result<T, object::ProtectError>,
    ) -> Result<Option<T>, OpenError> {
        self.0
            .as_ref()
            .map(act)
            .transpose()
            .map_err(OpenError::Protect)
    }

    fn connect(mut self, server: PipeServer) -> Result<Runner, OpenError> {
        let Some(child) = self.0.as_ref() else {
            return Err(OpenError::Identity);
        };
        child.resume().map_err(OpenError::Connect)?;
        let Connection { stream, peer } = server
            .accept(PATIENCE_MILLISECONDS)
            .map_err(OpenError::Connect)?;
        if peer != child.id() {
            return Err(OpenError::Stranger {
                expected: child.id(),
                found: peer,
            });
        }
        let child = self.0.take().ok_or(OpenError::Identity)?;
        let stream = Arc::new(stream);
        let line = Arc::new(Line::new(&stream));
        Ok(Runner {
            child,
            stream,
            questions: Questions::new(Arc::clone(&line)),
            line,
            reader: None,
        })
    }
}

impl Drop for EndedUnlessKept {
    fn drop(&mut self) {
        if let Some(child) = &self.0 {
            let _ = child.terminate(1);
        }
    }
}

/// Opens the runner's program so that nobody changes or moves it while it is started: an absolute path, a plain file.
pub(in crate::launch) fn hold_program(path: &Path) -> Result<File, OpenError> {
    let wrong = |cause| OpenError::Program {
        path: path.display().to_string(),
        cause,
    };
    if !path.is_absolute() {
        return Err(wrong(io::ErrorKind::InvalidFilename.into()));
    }
    let file = OpenOptions::new()
        .read(true)
        // Neither written nor deleted by anybody while it is open.
        .share_mode(FILE_SHARE_READ)
        .custom_flags(FILE_FLAG_OPEN_REPARSE_POINT)
        .open(path)
        .map_err(wrong)?;
    let attributes = file.metadata().map_err(wrong)?.file_attributes();
    if attributes & (FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_REPARSE_POINT) != 0 {
        return Err(wrong(io::ErrorKind::InvalidInput.into()));
    }
    Ok(file)
}

/// A directory that every account may enter.
fn system_directory() -> OsString {
    std::env::var_os("SystemRoot").unwrap_or_else(|| OsString::from(r"C:\Windows"))
}

#[cfg(test)]
mod tests {
    use ringfence_nt::SecurityDescriptor;

    use super::*;
    use crate::sys::pipe::connect;
    use crate::sys::process::{Arguments, Command, Standard, start_suspended};

    /// Which process is at the other end the system says, not whoever is there first.
    #[test]
    fn enforced_by_wine_whoever_connects_in_place_of_the_runner_is_sent_away() {
        let everyone = SecurityDescriptor::from_sddl("O:WDG:WDD:(A;;GA;;;WD)").unwrap();
        let program = std::env::current_exe().unwrap();
        let nothing = File::options().read(true).write(true).open("NUL").unwrap();
        let environment: Vec<_> = std::env::vars_os()
            .filter(|(name, _)| !name.as_encoded_bytes().contains(&b'='))
            .collect();
        // It knows nothing of a pipe.
        let child = start_suspended(&Command {
            program: program.as_os_str(),
            arguments: Arguments::Plain(&[OsString::from("--list")]),
            environment: &environment,
            directory: program.parent().unwrap().as_os_str(),
            desktop: None,
            standard: Standard::Handles([nothing.as_handle(); 3]),
            token: None,
            jobs: &[],
        })
        .unwrap();
        let runner = child.id();
        let name = PipeName::random().unwrap();
        let server = PipeServer::new(name.clone(), &everyone).unwrap();
        let stranger = std::thread::spawn(move || connect(&name).unwrap().peer);
        match Runner::of(child, server) {
            Err(OpenError::Stranger { expected, found }) => {
                assert_eq!((expected, found), (runner, std::process::id()));
            }
            Err(error) => panic!("{error:?}"),
            Ok(_) => panic!("the stranger was taken for the runner"),
        }
        stranger.join().unwrap();
    }
}
