//! The proxy on a shared loopback. Wine's table knows neither since when a connection is there nor always whose it is:
//! where a test needs that, it is put in, and the test is of the plumbing alone.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use ringfence_backend::CommandId;
use ringfence_egress::event::Event as Decided;
use ringfence_policy::AbsolutePath;
use ringfence_policy::layers::{Context, Layer, LayerKind, Trust, resolve};
use ringfence_policy::secrets::Platform;
use ringfence_windows::sys::handle::wait;

use super::*;

fn policy(text: &str) -> Policy {
    let path = |text| AbsolutePath::of_windows(text).unwrap();
    let context = Context {
        home: path(r"C:\home"),
        workspace: path(r"C:\ws"),
        state: path(r"C:\state"),
        platform: Platform::Windows,
    };
    let (kind, source) = (LayerKind::User, "policy.toml");
    let layer = Layer::from_file(kind, source, text.as_bytes(), Trust::Trusted).unwrap();
    resolve(&[layer], &context).unwrap()
}

/// Who says that the processes of the list are the session's.
#[derive(Debug)]
struct Known(Vec<u32>);

impl Members for Known {
    fn command_of(&self, process: u32, since: u64) -> Option<CommandId> {
        (since != 0 && self.0.contains(&process)).then_some(CommandId(7))
    }
}

/// The machine's table, with what wine does not know.
struct Completed;

impl ConnectionTable for Completed {
    fn rows(&self) -> io::Result<Vec<ConnectionRow>> {
        let mut rows = SystemTable.rows()?;
        for row in &mut rows {
            row.created = row.created.max(1);
            if row.process == 0 {
                row.process = std::process::id();
            }
        }
        Ok(rows)
    }
}

/// A server, and a proxy whose policy names it.
struct World {
    server: TcpListener,
    place: SocketAddr,
    proxy: Vec<SocketAddr>,
    egress: Egress,
}

impl World {
    fn new(members: Known, table: Arc<dyn ConnectionTable>) -> Self {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = server.local_addr().unwrap();
        let policy = policy(&format!("[network]\nconnect = [\"{place}\"]\n"));
        let loopback = Loopback::take(ProxyPorts::Any).unwrap();
        let listeners = loopback.listeners.iter();
        let proxy = listeners.map(|one| one.local_addr().unwrap()).collect();
        let session = SessionId("0123456789abcdef".to_owned());
        let members = OfSession::new(&session, Arc::new(members));
        let callers = ByTable::new(table, Arc::new(members));
        let egress = loopback.serve(&policy, callers, None).unwrap();
        Self {
            server,
            place,
            proxy,
            egress,
        }
    }

    /// Asks the proxy at `at` for `place`: the beginning of its answer, empty where it gives none.
    fn ask(&self, at: SocketAddr, place: SocketAddr) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(at).unwrap();
        let minute = Some(Duration::from_mins(1));
        stream.set_read_timeout(minute).unwrap();
        // A stranger's connection is closed at any time.
        let _ = write!(stream, "CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n");
        let mut answer = [0; 12];
        let text = match stream.read_exact(&mut answer) {
            Ok(()) => String::from_utf8_lossy(&answer).into_owned(),
            Err(error) => {
                assert_ne!(error.kind(), io::ErrorKind::TimedOut);
                String::new()
            }
        };
        (stream, text)
    }

    /// What was decided next: for which command, and by which rule.
    fn decided(&self) -> (Option<u64>, String) {
        wait(self.egress.readiness(), Some(60_000)).unwrap();
        let connection = self.egress.news().find_map(|decided| match decided {
            Decided::Connection(connection) => Some(connection),
            _ => None,
        });
        let connection = connection.unwrap();
        let rule = ringfence_egress::decide::parts(&connection.decision).0;
        (connection.subject.command, rule.name())
    }
}

#[test]
fn plumbing_only_a_command_reaches_what_is_allowed_and_nothing_else() {
    let world = World::new(Known(vec![std::process::id()]), Arc::new(Completed));
    for at in &world.proxy {
        let (mut client, status) = world.ask(*at, world.place);
        assert_eq!(status, "HTTP/1.1 200", "{at}");
        assert_eq!(world.decided().0, Some(7));
        let (mut accepted, _) = world.server.accept().unwrap();
        accepted.write_all(b"x").unwrap();
        drop(accepted);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.last(), Some(&b'x'));
    }
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_, status) = world.ask(world.proxy[0], other.local_addr().unwrap());
    assert_eq!(status, "HTTP/1.1 403");
}

#[test]
fn plumbing_only_a_stranger_gets_no_answer_and_is_recorded_for_no_command() {
    let world = World::new(Known(vec![std::process::id() + 1]), Arc::new(Completed));
    assert_eq!(world.ask(world.proxy[0], world.place).1, "");
    assert_eq!(world.decided(), (None, "net.unknown-caller".to_owned()));
    assert_eq!(world.egress.control().open_connections(), 0);
}

/// The table as it is: where it does not say since when a connection is there, its number proves nothing.
#[test]
fn not_enforced_a_table_without_times_serves_nobody() {
    let own = std::process::id();
    let world = World::new(Known(vec![own]), Arc::new(SystemTable));
    let (client, status) = world.ask(world.proxy[0], world.place);
    let rows = SystemTable.rows().unwrap();
    let near = client.local_addr().unwrap();
    let mut known = rows
        .iter()
        .filter(|row| row.created != 0 && row.process == own);
    let is_known = known.any(|row| row.local == near);
    let expected = if is_known { "HTTP/1.1 200" } else { "" };
    assert_eq!(status, expected);
}

#[test]
fn enforced_by_wine_each_session_has_the_next_free_port_and_without_one_there_is_none() {
    let any = Loopback::take(ProxyPorts::Any).unwrap();
    // A range of two, the lower of which is taken.
    let first = any.address.port();
    let ports = |last| ProxyPorts::Reserved(PortRange { first, last });
    let refused = Loopback::take(ports(first)).map(|_| ()).unwrap_err();
    let EgressError::Ports { tried, .. } = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!(*tried, format!("ports {first} to {first}"));
    assert!(!refused.hint().is_empty());
    let last = first.saturating_add(50);
    let second = Loopback::take(ports(last)).unwrap().address.port();
    assert!((first + 1..=last).contains(&second), "{second}");
    drop(any);
    let again = Loopback::take(ports(last)).unwrap();
    assert_eq!(again.address.port(), first);
}
