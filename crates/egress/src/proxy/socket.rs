//! Unix sockets of the host's file system that the policy opens, reached by one end of a pair.
//!
//! Whoever asks has checked that the path is the policy's; it is judged here again, by the policy of the moment.
//! Only bytes are moved: no descriptor travels along. Invariant: nothing is connected before the decision, and whoever
//! waits for an answer gets one.

use std::io;
use std::net::TcpStream as StdTcpStream;
use std::sync::Arc;

use ringfence_policy::AbsolutePath;
use ringfence_policy::decision::Decision;
use ringfence_policy::network::Destination;
use ringfence_policy::rule::RuleId;
use tokio::net::TcpStream;

use super::live::{Opening, Route};
use super::wire::Wire;
use super::{Shared, copy};
use crate::caller::{Caller, Ends, Program, Transport};
use crate::decide::{Ingress, Subject, refuse};

/// Tells the program inside what came of its connect.
pub trait Answer: Send {
    /// It is connected, or refused with this error.
    fn answer(self: Box<Self>, result: io::Result<()>);
}

/// A wish for a connection to a Unix socket of the host.
///
/// Both connections are stream sockets of whatever family; nothing is asked of them that only TCP has.
pub struct SocketWish {
    /// Whose.
    pub subject: Subject,
    /// The socket, as the policy names it.
    pub path: AbsolutePath,
    /// The program's side.
    pub client: StdTcpStream,
    /// Connects to the socket; does not wait.
    pub connect: Box<dyn FnOnce() -> io::Result<StdTcpStream> + Send>,
    /// Is told what came of it.
    pub answer: Box<dyn Answer>,
}

impl SocketWish {
    /// Decides, connects, answers, and moves bytes to the end.
    pub(super) async fn serve(self, shared: Arc<Shared>) {
        let Self {
            subject,
            path,
            client,
            connect,
            answer,
        } = self;
        let nowhere = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        let caller = Caller {
            subject: subject.clone(),
            ends: Ends {
                peer: nowhere,
                local: nowhere,
                transport: Transport::Pair,
            },
            program: Program::Unasked,
        };
        let destination = Destination::UnixPath(path.as_path());
        let decision = shared.gate.policy().decide(&destination);
        let permit = Arc::clone(&shared.slots).try_acquire_owned();
        let decision = match (&decision, &permit) {
            (Decision::Allow { .. }, Err(_)) => {
                let reason = format!("{} connections are open", shared.limits.connections);
                refuse(RuleId::NetworkLimit, reason)
            }
            (Decision::Allow { .. } | Decision::Deny { .. }, _) => decision,
        };
        let text = destination.to_string();
        shared
            .gate
            .record(&caller, Ingress::UnixSocket, text, None, &decision)
            .await;
        if matches!(decision, Decision::Deny { .. }) {
            return answer.answer(Err(io::ErrorKind::PermissionDenied.into()));
        }
        let opening = Opening {
            subject,
            port: 0,
            ingress: Ingress::UnixSocket,
            route: Route::Socket { path },
        };
        let live = shared.registry.register(opening, &shared.gate.policy());
        if live.refused_now(&shared.gate.policy()).is_some() {
            return answer.answer(Err(io::ErrorKind::PermissionDenied.into()));
        }
        match connect().and_then(|server| Ok((ready(client)?, ready(server)?))) {
            Ok((mut client, mut server)) => {
                answer.answer(Ok(()));
                copy::relay(&mut client, &mut server, &live).await;
                // Before Linux 6.16 a program can put sockets into its own that take long to close.
                tokio::task::spawn_blocking(move || drop(client));
            }
            Err(error) => {
                live.set_cause(crate::event::CloseCause::Broken);
                answer.answer(Err(error));
            }
        }
    }
}

fn ready(stream: StdTcpStream) -> io::Result<Wire> {
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream).map(Wire::new)
}
