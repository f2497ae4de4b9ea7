//! What a person keeps below `%LOCALAPPDATA%\Ringfence`, and what set-up has left for them below `%ProgramData%`.
//!
//! The first is theirs to write, so it is believed only where being wrong harms them alone. Invariant: the secret that
//! SIDs are derived from is made once, by the system's generator, before anything is named by it.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

use ringfence_backend::call::CallFailure;
use ringfence_backend::windows::{InstalledState, StateError};
use ringfence_nt::Sid;
use ringfence_plan::windows::audit::AuditRecord;
use ringfence_plan::windows::facts::{Capability, Consent, Ports, Record};
use ringfence_plan::windows::machine::MachineDirectories;
use ringfence_plan::windows::sids::{AccountNames, SidSecret, SidShape};
use ringfence_plan::windows::step::AccountRole;
use ringfence_plan::windows::{WindowsLedger, WindowsPath};
use serde::{Deserialize, Serialize};

use super::grants;
use crate::observe::machine::{self, MachineError};
use crate::sys::file::verbatim;
use crate::sys::protect::Secret;
use crate::sys::{CallError, random};

/// The version of [`Kept`].
const VERSION: u32 = 1;
/// What audits have measured.
const AUDIT: &str = "audit.json";
/// The largest file of ours that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Why what a person keeps can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PersonError {
    /// The machine does not tell where it is.
    #[error("your Ringfence directory can't be found")]
    Place(#[from] MachineError),
    /// A file could not be read or written.
    #[error("`{path}` could not be {action}")]
    File {
        /// Which.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A file holds something else.
    #[error("`{path}` is damaged; move it away, and run `ringfence setup repair`")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// What set-up left can't be read.
    #[error("what set-up left can't be read")]
    State(#[source] StateError),
    /// No random bytes.
    #[error("no random bytes for the secret of your SIDs")]
    Random(#[source] CallError),
    /// The ledger can't be read.
    #[error("your ledger can't be read")]
    Ledger(#[source] CallFailure),
    /// The password of the account can't be opened.
    #[error("the password of `{account}` can't be opened; run `ringfence setup repair`")]
    Password {
        /// Which account.
        account: String,
        /// Why.
        #[source]
        source: CallFailure,
    },
    /// The machine's directories can't be named.
    #[error("the machine's Ringfence directory can't be found")]
    Machine(#[source] ringfence_plan::windows::PlanError),
}

/// What is kept of a person between sessions, beside their ledger (`person.json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    version: u32,
    /// The secret that SIDs are derived from.
    pub secret: SidSecret,
    /// What SIDs of ours look like on this machine.
    pub shape: SidShape,
    /// Directories of tools that sandboxed commands may read.
    pub agreed: Vec<WindowsPath>,
    /// The ports as set-up found them.
    pub ports: Option<Ports>,
    /// Whether an administrator has agreed to network filters that can hit others than the accounts.
    #[serde(default)]
    pub complement: Consent,
}

/// An account to log on with.
pub struct AccountLogon {
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: Secret,
}

impl std::fmt::Debug for AccountLogon {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "AccountLogon({})", self.name)
    }
}

/// The files of the person whose process this is.
#[derive(Clone, Debug)]
pub struct PersonFiles {
    directory: WindowsPath,
}

impl PersonFiles {
    /// Finds them; makes the directory where it is missing.
    ///
    /// # Errors
    /// [`PersonError`].
    pub fn open() -> Result<Self, PersonError> {
        let files = Self {
            directory: machine::state_directory()?,
        };
        let path = PathBuf::from(verbatim(&files.directory));
        fs::create_dir_all(&path).map_err(|source| PersonError::File {
            path,
            action: "made",
            source,
        })?;
        Ok(files)
    }

    /// Where they are.
    #[must_use]
    pub fn directory(&self) -> &WindowsPath {
        &self.directory
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(verbatim(&self.directory)).join(name)
    }

    /// What is kept; made at the first time.
    ///
    /// # Errors
    /// [`PersonError`].
    pub fn kept(&self) -> Result<Kept, PersonError> {
        let path = self.path("person.json");
        if let Some(bytes) = read(&path)? {
            return serde_json::from_slice(&bytes)
                .map_err(|source| PersonError::Damaged { path, source });
        }
        let mut bytes = [0; 32];
        random::fill(&mut bytes).map_err(PersonError::Random)?;
        let kept = Kept {
            version: VERSION,
            secret: SidSecret::new(bytes),
            shape: SidShape::default(),
            agreed: Vec::new(),
            ports: None,
            complement: Consent::Missing,
        };
        self.keep(&kept)?;
        Ok(kept)
    }

    /// Writes what is kept: whole, or as it was.
    ///
    /// # Errors
    /// [`PersonError::File`].
    pub fn keep(&self, kept: &Kept) -> Result<(), PersonError> {
        self.write("person.json", kept)
    }

    /// What audits have measured; `None` before the first.
    ///
    /// # Errors
    /// [`PersonError`]. One that is damaged is an error: what escaped must not be forgotten by it.
    pub fn audit(&self) -> Result<Option<AuditRecord>, PersonError> {
        let path = self.path(AUDIT);
        let Some(bytes) = read(&path)? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| PersonError::Damaged { path, source })
    }

    /// Keeps what an audit has measured.
    ///
    /// # Errors
    /// [`PersonError::File`].
    pub fn keep_audit(&self, record: &AuditRecord) -> Result<(), PersonError> {
        self.write(AUDIT, record)
    }

    fn write(&self, name: &str, content: &impl Serialize) -> Result<(), PersonError> {
        let (path, new) = (self.path(name), self.path(&format!("{name}.new")));
        let failed = |source| PersonError::File {
            path: path.clone(),
            action: "written",
            source,
        };
        let bytes = serde_json::to_vec_pretty(content).map_err(|source| PersonError::Damaged {
            path: path.clone(),
            source,
        })?;
        let mut file = fs::File::create(&new).map_err(failed)?;
        file.write_all(&bytes).map_err(failed)?;
        // The name must not come before what it stands for: files of zeros are what a power cut leaves otherwise.
        file.sync_all().map_err(failed)?;
        drop(file);
        fs::rename(&new, &path).map_err(failed)
    }

    /// What plans need of what was done before.
    ///
    /// # Errors
    /// [`PersonError`].
    pub fn ledger(&self) -> Result<WindowsLedger, PersonError> {
        let kept = self.kept()?;
        Ok(WindowsLedger {
            secret: kept.secret,
            shape: kept.shape,
            machine: Vec::new(),
            person: Vec::new(),
        })
    }

    /// The capability SIDs that stand on roots, by the person's ledger.
    ///
    /// # Errors
    /// [`PersonError::Ledger`].
    pub fn capabilities(&self) -> Result<Vec<Capability>, PersonError> {
        let kept = self.kept()?;
        grants::capabilities(self, &kept).map_err(PersonError::Ledger)
    }

    /// The machine's record of the person; `None` where set-up has left none.
    ///
    /// # Errors
    /// [`PersonError`].
    pub fn record(&self, person: Sid) -> Result<Option<Record>, PersonError> {
        let directories = machine_directories(person)?;
        let Some((state, bytes)) = read_state(&directories)? else {
            return Ok(None);
        };
        let marker = read(&PathBuf::from(verbatim(&directories.marker)))?;
        Ok(Some(state.record(&bytes, marker.as_deref())))
    }

    /// What the person's set-up was made from, and its accounts; `None` where none has finished.
    ///
    /// # Errors
    /// [`PersonError`].
    pub fn state(&self, person: Sid) -> Result<Option<InstalledState>, PersonError> {
        let found = read_state(&machine_directories(person)?)?;
        Ok(found
            .map(|(state, _)| state)
            .filter(|state| state.is_of(person)))
    }

    /// A new directory for a session's programs that stand in for others; nothing is made yet.
    ///
    /// # Errors
    /// [`PersonError::Random`].
    pub fn new_stubs(&self) -> Result<PathBuf, PersonError> {
        let mut bytes = [0; 8];
        random::fill(&mut bytes).map_err(PersonError::Random)?;
        let name = format!("{:016x}", u64::from_ne_bytes(bytes));
        let directory = PathBuf::from(self.directory.to_string()).join("stubs");
        fs::create_dir_all(&directory).map_err(|source| PersonError::File {
            path: directory.clone(),
            action: "made",
            source,
        })?;
        Ok(directory.join(name))
    }

    /// The account of that role, with its password.
    ///
    /// # Errors
    /// [`PersonError`].
    pub fn account(&self, person: Sid, role: AccountRole) -> Result<AccountLogon, PersonError> {
        let names = AccountNames::of(person);
        let [offline, online] = machine_directories(person)?.passwords;
        let (name, path) = match role {
            AccountRole::Offline => (names.offline, offline),
            AccountRole::Online => (names.online, online),
        };
        let password =
            grants::open_password(person, &path).map_err(|source| PersonError::Password {
                account: name.clone(),
                source,
            })?;
        Ok(AccountLogon { name, password })
    }
}

/// The directories that set-up makes for a person.
///
/// # Errors
/// [`PersonError`].
pub fn machine_directories(person: Sid) -> Result<MachineDirectories, PersonError> {
    let data = machine::program_data()?;
    MachineDirectories::below(&data, person).map_err(PersonError::Machine)
}

fn read_state(
    directories: &MachineDirectories,
) -> Result<Option<(InstalledState, Vec<u8>)>, PersonError> {
    let Some(bytes) = read(&PathBuf::from(verbatim(&directories.state)))? else {
        return Ok(None);
    };
    let state = InstalledState::from_bytes(&bytes).map_err(PersonError::State)?;
    Ok(Some((state, bytes)))
}

fn read(path: &PathBuf) -> Result<Option<Vec<u8>>, PersonError> {
    let failed = |source| PersonError::File {
        path: path.clone(),
        action: "read",
        source,
    };
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MAX_FILE), &mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}
