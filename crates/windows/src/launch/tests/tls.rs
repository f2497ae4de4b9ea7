//! Requests inside TLS from a command of a session: harness, runner and target are three processes, and the proxy is
//! the one that sessions have.
//!
//! Wine's table of connections knows neither since when one is there nor always whose it is: what it leaves out is put
//! in, so that all of it is plumbing. The internet is a server of this machine.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use graviola::hashing::Sha256;
use graviola::signing::ecdsa::{P256, SigningKey as EcdsaKey};
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyIdMethod, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SerialNumber, SignatureAlgorithm, SigningKey,
};
use ringfence_backend::CommandId;
use ringfence_backend::session::Members;
use ringfence_backend::windows::runner::{Ended, Event};
use ringfence_egress::caller::{ByTable, ConnectionRow, ConnectionTable, Processes};
use ringfence_egress::event::Event as Decided;
use ringfence_egress::proxy::Nobody;
use ringfence_egress::terminate::Roots;
use ringfence_egress::{
    Control, Dial, Limits, Listener, Parts, Pending, Proxy, Resolve, Sink, Subject,
    SyntheticNetwork, Terminator,
};
use ringfence_plan::proxy::windows_variables;
use ringfence_policy::AbsolutePath;
use ringfence_policy::host::HostName;
use ringfence_policy::layers::{Context, Layer, LayerKind, Trust, resolve};
use ringfence_policy::policy::NetworkPolicy;
use ringfence_policy::secrets::Platform;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use super::roles::Role;
use super::{begin, next, said, start, this_program, through_a_runner};
use crate::launch::session::Session;
use crate::sys::connections::tcp_connections;
use crate::sys::listener::listen_exclusively;

const HOST: &str = "api.example.com";
/// Where the name leads to, and where nobody of this machine is.
const PLACE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(11, 22, 33, 44));

struct Key(EcdsaKey<P256>, Vec<u8>);

impl Key {
    fn make() -> Self {
        let pair = EcdsaKey::<P256>::generate().unwrap();
        let mut buffer = [0; 256];
        let point = pair.to_spki_der(&mut buffer).unwrap();
        let point = point.last_chunk::<65>().unwrap().to_vec();
        Self(pair, point)
    }

    fn parameters(&self, names: &[&str]) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.serial_number = Some(SerialNumber::from_slice(&self.1[1..17]));
        parameters.key_identifier_method = KeyIdMethod::PreSpecified(self.1[1..21].to_vec());
        parameters
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.1
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut buffer = [0; 256];
        let signed = self.0.sign_asn1::<Sha256>(&[message], &mut buffer);
        Ok(signed.unwrap().to_vec())
    }
}

/// A server that answers every request inside TLS, and what it was asked.
struct Origin {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    authority: CertificateDer<'static>,
}

impl Origin {
    fn new() -> Self {
        let (above, key) = (Key::make(), Key::make());
        let mut parameters = above.parameters(&[]);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = parameters.self_signed(&above).unwrap();
        let issuer = Issuer::new(parameters, above);
        let leaf = key.parameters(&[HOST]).signed_by(&key, &issuer).unwrap();
        let mut buffer = [0; 512];
        let secret = key.0.to_pkcs8_der(&mut buffer).unwrap().to_vec();
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivatePkcs8KeyDer::from(secret).into(),
            );
        let config = Arc::new(config.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let session = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(session, stream);
                if let Some(head) = read_head(&mut stream) {
                    let line = head.lines().next().unwrap_or_default().to_owned();
                    heard.lock().unwrap().push(line);
                    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx-origin: yes\r\n\r\n";
                    let _ = stream.write_all(answer.as_bytes());
                    let _ = stream.flush();
                }
            }
        });
        Self {
            address,
            asked,
            authority: authority.der().clone(),
        }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls_graviola::default_provider())
}

fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// The internet: one name, one server.
struct Internet(SocketAddr);

impl Resolve for Internet {
    fn resolve<'a>(&'a self, name: &'a HostName) -> Pending<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            if name.as_str() == HOST {
                Ok(vec![PLACE])
            } else {
                Err(io::ErrorKind::NotFound.into())
            }
        })
    }
}

impl Dial for Internet {
    fn dial(&self, address: SocketAddr) -> Pending<'static, io::Result<tokio::net::TcpStream>> {
        let server = self.0;
        Box::pin(async move {
            if address.ip() == PLACE {
                tokio::net::TcpStream::connect(server).await
            } else {
                Err(io::ErrorKind::ConnectionRefused.into())
            }
        })
    }
}

/// The machine's table. Where it does not know a process, that is the one whose program was started last.
struct Completed(Arc<AtomicU32>);

impl ConnectionTable for Completed {
    fn rows(&self) -> io::Result<Vec<ConnectionRow>> {
        let rows = tcp_connections().map_err(io::Error::other)?;
        let last = self.0.load(Ordering::SeqCst);
        let row = |row: crate::sys::connections::TcpConnection| ConnectionRow {
            local: row.local,
            remote: row.remote,
            process: if row.process == 0 { last } else { row.process },
            created: if row.created == 0 {
                u64::MAX
            } else {
                row.created
            },
        };
        Ok(rows.into_iter().map(row).collect())
    }
}

/// The session's answers, as the proxy asks for them.
struct OfSession(Arc<dyn Members>);

impl Processes for OfSession {
    fn subject(&self, row: &ConnectionRow) -> Option<Subject> {
        let CommandId(command) = self.0.command_of(row.process, row.created)?;
        Some(Subject {
            session: "a".to_owned(),
            command: Some(command),
        })
    }
}

#[derive(Default)]
struct Log(Mutex<Vec<Decided>>);

impl Sink for Log {
    fn record(&self, event: Decided) {
        self.0.lock().unwrap().push(event);
    }
}

/// A session with a proxy before a server, and the variables of its commands.
struct Scene {
    session: Session,
    control: Control,
    log: Arc<Log>,
    origin: Origin,
    caller: Arc<AtomicU32>,
    variables: HashMap<String, String>,
    trust: PathBuf,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.control.shutdown();
        let _ = std::fs::remove_file(&self.trust);
    }
}

fn policy(rule: &str) -> NetworkPolicy {
    let path = |text| AbsolutePath::of_windows(text).unwrap();
    let context = Context {
        home: path(r"C:\home"),
        workspace: path(r"C:\ws"),
        state: path(r"C:\state"),
        platform: Platform::Windows,
    };
    let text = format!("[network]\nmode = \"allowlist\"\nallow = [{rule}]\n");
    let (kind, source) = (LayerKind::User, "policy.toml");
    let layer = Layer::from_file(kind, source, text.as_bytes(), Trust::Trusted).unwrap();
    resolve(&[layer], &context).unwrap().network
}

impl Scene {
    fn new(name: &str, rule: &str) -> Self {
        let (session, origin, policy) = (through_a_runner(), Origin::new(), policy(rule));
        let limits_requests = policy.scoped_rules().next().is_some();
        let roots = Roots::of(vec![origin.authority.clone()]);
        let terminator = limits_requests
            .then(|| Arc::new(Terminator::new(policy.scoped_rules(), &roots).unwrap()));
        // As a session's file: what the machine trusts, and the session's own where there is one.
        let own = terminator.as_ref().map(|one| one.certificate());
        let bundle = roots.bundle(&own.unwrap_or_default());
        let file = format!("ringfence-tls-{}-{name}.pem", std::process::id());
        let trust = std::env::temp_dir().join(file);
        std::fs::write(&trust, bundle).unwrap();
        let caller = Arc::new(AtomicU32::new(0));
        let log = Arc::new(Log::default());
        let internet = Arc::new(Internet(origin.address));
        let members: Arc<dyn Members> = Arc::new(session.callers());
        let parts = Parts {
            attribution: Arc::new(ByTable::new(
                Arc::new(Completed(Arc::clone(&caller))),
                Arc::new(OfSession(members)),
            )),
            resolver: Arc::clone(&internet) as Arc<dyn Resolve>,
            dialer: internet,
            reviewer: Arc::new(Nobody),
            sink: Arc::clone(&log) as Arc<dyn Sink>,
            terminator,
        };
        let network = SyntheticNetwork::default();
        let (proxy, control) = Proxy::new(policy, network, Limits::default(), parts);
        let listener = listen_exclusively("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        control.add(Listener::Explicit(listener)).unwrap();
        std::thread::spawn(move || proxy.run());
        let mut variables: HashMap<_, _> = windows_variables(address).into_iter().collect();
        variables.insert(
            "SSL_CERT_FILE".to_owned(),
            trust.to_str().unwrap().to_owned(),
        );
        Self {
            session,
            control,
            log,
            origin,
            caller,
            variables,
            trust,
        }
    }

    /// What a command of the session says that asks [`HOST`] twice.
    fn inside(&mut self, number: u64) -> Vec<String> {
        let mut client = start(number, Role::TlsClient);
        let variables = self.variables.iter();
        client
            .variables
            .extend(variables.map(|(name, value)| (name.into(), value.into())));
        let mut reader = begin(&mut self.session, client);
        let Event::Started { process, .. } = next(&mut self.session) else {
            panic!("not started");
        };
        self.caller.store(process, Ordering::SeqCst);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let ended = next(&mut self.session);
        let Event::Ended { how, .. } = ended else {
            panic!("{ended:?}");
        };
        assert_eq!(how, Ended::Exited(0), "{text}");
        said(&text).into_iter().map(str::to_owned).collect()
    }

    /// The same of a process that is no command's.
    fn outside(&self) -> Vec<String> {
        let child = std::process::Command::new(this_program())
            .args(Role::TlsClient.arguments())
            .envs(&self.variables)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        self.caller.store(child.id(), Ordering::SeqCst);
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        said(&text).into_iter().map(str::to_owned).collect()
    }

    /// Whose the connections were, in order.
    fn callers(&self) -> Vec<Option<u64>> {
        let log = self.log.0.lock().unwrap();
        let connections = log.iter().filter_map(|decided| match decided {
            Decided::Connection(connection) => Some(connection.subject.command),
            _ => None,
        });
        connections.collect()
    }
}

/// What a target does: one request of each method, each on a connection of its own.
pub(super) fn ask_twice(say: impl Fn(String)) {
    // The harness learns its number meanwhile.
    std::thread::sleep(Duration::from_millis(500));
    for method in ["GET", "POST"] {
        match ask(method) {
            Ok(answer) => say(format!("{method} {answer}")),
            Err(error) => say(format!("{method} without an answer: {:?}", error.kind())),
        }
    }
}

fn ask(method: &str) -> io::Result<String> {
    let variable = |name| std::env::var(name).map_err(io::Error::other);
    let proxy = variable("https_proxy")?;
    let proxy = proxy.strip_prefix("http://").unwrap_or_default();
    let mut stream = TcpStream::connect(proxy)?;
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    let end = || io::Error::from(io::ErrorKind::UnexpectedEof);
    write!(
        stream,
        "CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}:443\r\n\r\n"
    )
    .map_err(|_| end())?;
    let opened = read_head(&mut stream).ok_or_else(end)?;
    if !opened.starts_with("HTTP/1.1 200") {
        return Ok(format!(
            "no tunnel: {}",
            opened.lines().next().unwrap_or_default()
        ));
    }
    let bundle = std::fs::read(variable("SSL_CERT_FILE")?)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bundle) {
        let certificate = certificate.map_err(io::Error::other)?;
        roots.add(certificate).map_err(io::Error::other)?;
    }
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
    let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut secure = StreamOwned::new(session, stream);
    write!(
        secure,
        "{method} /v1 HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n"
    )?;
    secure.flush()?;
    let answer = read_head(&mut secure).ok_or_else(end)?;
    let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
    let why = answer
        .lines()
        .find_map(|line| line.strip_prefix("x-proxy-error: "));
    Ok(why.map_or(status.clone(), |why| format!("{status} {why}")))
}

const LIMITED: &str = r#"{ host = "api.example.com", methods = ["GET"] }"#;

#[test]
fn plumbing_only_inside_tls_a_command_sends_only_the_requests_that_its_rule_names() {
    let mut scene = Scene::new("limited", LIMITED);
    assert_eq!(
        scene.inside(1),
        ["GET 200", "POST 403 blocked-by-net.request-scope"]
    );
    assert_eq!(scene.origin.asked(), ["GET /v1 HTTP/1.1"]);
    let callers = scene.callers();
    assert!(!callers.is_empty() && callers.iter().all(|command| *command == Some(1)));
}

// The control: without methods in the rule nobody reads the tunnel, and the same request passes.
#[test]
fn plumbing_only_a_rule_without_methods_lets_every_request_inside_tls_pass() {
    let mut scene = Scene::new("tunnel", r#""api.example.com""#);
    assert_eq!(scene.inside(1), ["GET 200", "POST 200"]);
    assert_eq!(
        scene.origin.asked(),
        ["GET /v1 HTTP/1.1", "POST /v1 HTTP/1.1"]
    );
}

// The process has the session's variables and trusts its certificate, and is no command's.
#[test]
fn plumbing_only_a_process_outside_the_session_gets_no_answer_of_its_proxy() {
    let mut scene = Scene::new("stranger", LIMITED);
    assert_eq!(
        scene.outside(),
        [
            "GET without an answer: UnexpectedEof",
            "POST without an answer: UnexpectedEof"
        ]
    );
    assert_eq!(scene.origin.asked(), Vec::<String>::new());
    assert!(scene.callers().iter().all(Option::is_none));
    // The control: a command's is answered by the same proxy.
    assert_eq!(scene.inside(1)[0], "GET 200");
}
