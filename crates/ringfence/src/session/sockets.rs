//! Unix sockets of the host that the session may reach: held by their objects, and connected to on request.
//!
//! The runner says which of them a program wants, by its number in the plan, and passes one end of a pair. Whatever
//! takes the socket's name later, it is the object that was judged that is connected to.
//! Invariant: nothing is connected to that is not in the plan.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::thread;

use ringfence_egress::Subject;
use ringfence_egress::proxy::{Control, SocketAnswer, SocketWish};
use ringfence_plan::step::FileId;
use ringfence_plan::{Plan, Step};
use ringfence_policy::AbsolutePath;
use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recvmsg, send, socket_with,
};

/// Why a socket of the plan can't be held.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// It could not be opened.
    #[error("open the Unix socket {path}")]
    Open {
        /// Which.
        path: AbsolutePath,
        /// The kernel's answer.
        #[source]
        source: Errno,
    },
    /// Something else has taken its place.
    #[error("{path} is no longer the socket that was planned for")]
    Changed {
        /// Which.
        path: AbsolutePath,
    },
    /// There is no thread for it.
    #[error("start the thread that connects to Unix sockets")]
    Thread(#[source] io::Error),
}

/// A socket of the plan, held by its object.
#[derive(Debug)]
struct Held {
    named: AbsolutePath,
    object: OwnedFd,
}

/// All sockets of a plan.
#[derive(Debug)]
pub(super) struct HostSockets(Vec<Held>);

impl HostSockets {
    /// Holds the sockets of `plan`.
    ///
    /// # Errors
    /// [`SocketError`], naming the socket.
    pub(super) fn hold(plan: &Plan) -> Result<Self, SocketError> {
        let mut held = Vec::new();
        for step in &plan.steps {
            if let Step::ReachSocket {
                named,
                path,
                identity,
            } = step
            {
                let object = hold(path, *identity)?;
                let named = named.clone();
                held.push(Held { named, object });
            }
        }
        Ok(Self(held))
    }

    /// Whether the plan opens none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Serves wishes from `door` until it is closed, on a thread of its own.
    ///
    /// # Errors
    /// [`SocketError::Thread`].
    pub(super) fn serve(
        self,
        door: OwnedFd,
        control: Control,
        subject: Subject,
    ) -> Result<(), SocketError> {
        let door = Arc::new(door);
        thread::Builder::new()
            .name("unix-sockets".to_owned())
            .stack_size(128 << 10)
            .spawn(move || {
                while let Ok(Some(wish)) = next_wish(&door) {
                    self.pass_on(&door, &control, &subject, wish);
                }
            })
            .map_err(SocketError::Thread)?;
        Ok(())
    }

    fn pass_on(&self, door: &Arc<OwnedFd>, control: &Control, subject: &Subject, wish: Wish) {
        let answer = Box::new(Reply {
            door: Arc::clone(door),
            number: wish.number,
        });
        let held = self.0.get(usize::from(wish.which));
        let (Some(held), Some(client)) = (held, wish.end) else {
            // The runner's words are read as hostile.
            return answer.answer(Err(io::ErrorKind::PermissionDenied.into()));
        };
        let object = match held.object.try_clone() {
            Ok(object) => object,
            Err(error) => return answer.answer(Err(error)),
        };
        let asked = control.reach(SocketWish {
            subject: subject.clone(),
            path: held.named.clone(),
            client: TcpStream::from(client),
            connect: Box::new(move || connect_to(&object)),
            answer,
        });
        if let Err(unanswered) = asked {
            let gone = io::ErrorKind::ConnectionRefused.into();
            unanswered.answer.answer(Err(gone));
        }
    }
}

fn hold(path: &AbsolutePath, identity: FileId) -> Result<OwnedFd, SocketError> {
    let failed = |source| SocketError::Open {
        path: path.clone(),
        source,
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let object = open(path.as_path(), flags, Mode::empty()).map_err(failed)?;
    let found = fstat(&object).map_err(failed)?;
    if (found.st_dev, found.st_ino) != (identity.device, identity.inode) {
        return Err(SocketError::Changed { path: path.clone() });
    }
    Ok(object)
}

/// Connects to the object itself, by the one name that always means it. Does not wait: a server whose queue is full
/// refuses.
fn connect_to(object: &OwnedFd) -> io::Result<TcpStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let name = format!("/proc/self/fd/{}", object.as_raw_fd());
    connect(&socket, &SocketAddrUnix::new(name)?)?;
    Ok(socket.into())
}

/// What the runner passes on.
struct Wish {
    number: [u8; 4],
    which: u16,
    end: Option<OwnedFd>,
}

/// The next wish; `None` when the runner has closed its side, or says what is none.
fn next_wish(door: &OwnedFd) -> Result<Option<Wish>, Errno> {
    let mut message = [0; 6];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut message)];
        match recvmsg(door, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    let end = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    let [a, b, c, d, which @ ..] = message;
    Ok((received.bytes == message.len()).then(|| Wish {
        number: [a, b, c, d],
        which: u16::from_le_bytes(which),
        end,
    }))
}

/// The answer to one wish.
struct Reply {
    door: Arc<OwnedFd>,
    number: [u8; 4],
}

impl SocketAnswer for Reply {
    fn answer(self: Box<Self>, result: io::Result<()>) {
        let number = match result {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap_or_else(|| match error.kind() {
                io::ErrorKind::PermissionDenied => Errno::ACCESS.raw_os_error(),
                _ => Errno::CONNREFUSED.raw_os_error(),
            }),
        };
        let message = [self.number, number.to_le_bytes()].concat();
        // A runner that is gone needs no answer.
        let _ = send(&*self.door, &message, SendFlags::NOSIGNAL);
    }
}
