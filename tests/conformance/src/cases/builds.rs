//! Build tools and package installers: they work with the home read-only, and the person's caches stay as they are.
//!
//! Nothing is downloaded: each case makes its own packages. A tool that is not installed leaves its case out by name.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::checks::{Checks, Context, Failure};
use crate::fixture::Fixture;
use crate::ground::Ground;
use crate::launch::Launch;
use crate::snapshot::{Snapshot, snapshot};
use crate::suite::{Case, Needs};

/// The cases of this module.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "work.cargo",
        promise: "cargo build and cargo test work, with a dependency that cargo has to fetch; the person's caches are untouched",
        needs: Needs::Full,
        run: cargo,
    },
    Case {
        name: "work.npm-ci",
        promise: "npm ci works; the person's caches are untouched",
        needs: Needs::Full,
        run: npm,
    },
    Case {
        name: "work.pip-install",
        promise: "pip install works in a virtual environment of the workspace; the person's caches are untouched",
        needs: Needs::Full,
        run: pip,
    },
    Case {
        name: "work.uv",
        promise: "uv makes a virtual environment and installs; the person's caches are untouched",
        needs: Needs::Full,
        run: uv,
    },
    Case {
        name: "work.go-build",
        promise: "go build works, with a module that go has to fetch; the person's caches are untouched",
        needs: Needs::Full,
        run: go,
    },
    Case {
        name: "work.maven",
        promise: "mvn -o works with what the person's repository holds; the person's caches are untouched",
        needs: Needs::Full,
        run: maven,
    },
];

/// One tool's work.
struct Job<'a> {
    /// Files below the fixture's top: `home/project` is the workspace, `outside` what packages are made from.
    files: &'a [(&'a str, &'a str)],
    /// Made ready outside the boundary.
    prepare: &'a str,
    /// What must work, outside and inside. Its standard output ends with what [`Job::shows`] says.
    work: &'a str,
    /// The last line of the work's output.
    shows: &'a str,
    /// Directories in the home that a person who has used the tool has.
    used: &'a [&'a str],
    /// Whether the tool is known to write to a cache for this work.
    fills: Fills,
    /// Variables of the caller.
    variables: Vec<(&'static str, OsString)>,
}

/// Whether a job fills a cache.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fills {
    Surely,
    Perhaps,
}

impl Job<'_> {
    fn fixture(&self, ground: &Ground) -> Result<Fixture, Failure> {
        let fixture = ground.fixture()?;
        for (path, content) in self.files {
            fixture.write(path, content)?;
        }
        let launch = self.launch(ground, &fixture);
        let prepared = launch.plain(&["/bin/sh", "-ec", self.prepare])?;
        if prepared.code() != 0 {
            return Err(Failure::Meaningless(format!(
                "the preparation ended with {}: {}{}",
                prepared.code(),
                prepared.text(),
                prepared.said()
            )));
        }
        Ok(fixture)
    }

    fn launch<'a>(&self, ground: &'a Ground, fixture: &'a Fixture) -> Launch<'a> {
        let launch = Launch::new(ground, fixture).variable("OUT", &fixture.outside);
        self.variables
            .iter()
            .fold(launch, |launch, (name, value)| launch.variable(name, value))
    }

    /// The work outside; then inside for somebody who never used the tool, and for somebody who has its caches.
    fn run(&self, ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
        let control = self.fixture(ground)?;
        let outside = self
            .launch(ground, &control)
            .plain(&["/bin/sh", "-ec", self.work])?;
        checks.that("control", self.succeeded(&outside.text()), || {
            format!("{} {}{}", outside.code(), outside.text(), outside.said())
        });
        for (label, used) in [("no caches yet", &[][..]), ("caches in use", self.used)] {
            let fixture = self.fixture(ground)?;
            for directory in used {
                fixture.write(
                    Path::new("home").join(directory).join("the-persons-own"),
                    "kept\n",
                )?;
            }
            let before = snapshot(&fixture.home)?;
            let launch = self.launch(ground, &fixture);
            for time in ["first", "second"] {
                let inside = launch.inside(&["/bin/sh", "-ec", self.work])?;
                checks.that(
                    &format!("{label}: {time} time"),
                    inside.code() == 0 && self.succeeded(&inside.text()),
                    || format!("{} {}{}", inside.code(), inside.text(), inside.said()),
                );
            }
            let touched = touched(&before, &fixture)?;
            checks.that(&format!("{label}: untouched"), touched.is_empty(), || {
                format!("{touched:?}")
            });
            if self.fills == Fills::Surely {
                let written = written(&fixture)?;
                checks.that(&format!("{label}: our own in use"), written > 0, || {
                    "nothing was written to the session's caches".to_owned()
                });
            }
        }
        Ok(())
    }

    fn succeeded(&self, output: &str) -> bool {
        output.lines().last() == Some(self.shows)
    }
}

/// What changed in the home outside the workspace.
fn touched(before: &Snapshot, fixture: &Fixture) -> Result<Vec<PathBuf>, Failure> {
    let outside = |snapshot: &Snapshot| -> Snapshot {
        snapshot
            .iter()
            .filter(|(path, _)| !path.starts_with(&fixture.workspace))
            .map(|(path, entry)| (path.clone(), entry.clone()))
            .collect::<BTreeMap<_, _>>()
    };
    let (before, after) = (outside(before), outside(&snapshot(&fixture.home)?));
    let mut names: Vec<PathBuf> = before
        .iter()
        .filter(|(path, entry)| after.get(*path) != Some(entry))
        .map(|(path, _)| path.clone())
        .collect();
    names.extend(
        after
            .keys()
            .filter(|path| !before.contains_key(*path))
            .cloned(),
    );
    Ok(names)
}

/// How many files the sessions have left in their own caches.
fn written(fixture: &Fixture) -> Result<usize, Failure> {
    let caches = fixture.state.join("ringfence/cache");
    // Also that it can be read, and so removed, by the person.
    let found = snapshot(&caches)?;
    Ok(found
        .keys()
        .filter(|path| path.is_file())
        .filter(|path| {
            let kernels = path.components().any(|part| part.as_os_str() == "work");
            !kernels
        })
        .count())
}

/// Where `program` is in the caller's PATH, if every user and every sandbox can run it there.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|found| found.is_file())
}

/// Leaves the case out unless `words` work outside.
fn lacks(launch: &Launch<'_>, checks: &mut Checks, words: &[&str], cure: &str) -> bool {
    let can = launch.plain(words).is_ok_and(|run| run.code() == 0);
    if !can {
        checks.skip(format!("`{}` does not work here: {cure}", words.join(" ")));
    }
    !can
}

fn cargo(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    // The tests' own cargo, and not rustup's: its home is the caller's, which a fixture's home is not.
    let toolchain = std::env::var_os("CARGO")
        .map(PathBuf::from)
        .or_else(|| find("cargo"))
        .and_then(|cargo| Some(cargo.parent()?.to_owned()));
    let Some(toolchain) = toolchain else {
        checks.skip("cargo is not installed");
        return Ok(());
    };
    let path = std::env::join_paths([
        toolchain.as_path(),
        Path::new("/usr/bin"),
        Path::new("/bin"),
    ])
    .map_err(|error| Failure::Meaningless(error.to_string()))?;
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture).variable("PATH", &path);
    let cure = "it must be readable for this user, with a C compiler and git";
    if lacks(&launch, checks, &["cargo", "--version"], cure)
        || lacks(&launch, checks, &["rustc", "--version"], cure)
        || lacks(&launch, checks, &["cc", "--version"], cure)
    {
        return Ok(());
    }
    Job {
        files: &[
            (
                "outside/left/Cargo.toml",
                "[package]\nname = \"left\"\nversion = \"1.0.0\"\nedition = \"2021\"\n",
            ),
            (
                "outside/left/src/lib.rs",
                "pub fn pad() -> &'static str { \"padded\" }\n",
            ),
            (
                "home/project/src/main.rs",
                "fn main() { println!(\"{}\", left::pad()); }\n#[test]\nfn pads() { assert_eq!(left::pad(), \"padded\"); }\n",
            ),
        ],
        prepare: "cd \"$OUT/left\"; git init --quiet; git add .; \
                  git -c user.name=t -c user.email=t@example.com commit --quiet -m first; cd - >/dev/null; \
                  printf '[package]\\nname = \"app\"\\nversion = \"0.1.0\"\\nedition = \"2021\"\\n[dependencies]\\nleft = { git = \"file://%s/left\" }\\n' \"$OUT\" > Cargo.toml",
        work: "cargo build --quiet; cargo test --quiet; ./target/debug/app",
        shows: "padded",
        used: &[".cargo/registry", ".cargo/git"],
        fills: Fills::Surely,
        variables: vec![("PATH", path)],
    }
    .run(ground, checks)
}

fn npm(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let cure = "install Node.js with npm";
    if lacks(
        &Launch::new(ground, &fixture),
        checks,
        &["npm", "--version"],
        cure,
    ) {
        return Ok(());
    }
    Job {
        files: &[
            (
                "outside/left/package.json",
                r#"{"name": "left", "version": "1.0.0", "main": "index.js"}"#,
            ),
            ("outside/left/index.js", "module.exports = 'padded';\n"),
            (
                "home/project/package.json",
                r#"{"name": "app", "version": "1.0.0", "dependencies": {"left": "file:left-1.0.0.tgz"}}"#,
            ),
        ],
        // A person's own npm must leave no cache behind in the fixture.
        prepare: "export npm_config_cache=\"$OUT/npm\"; npm pack --silent \"$OUT/left\" >/dev/null; \
                  npm install --silent --offline --package-lock-only --no-audit --no-fund",
        work: "npm ci --offline --no-audit --no-fund >&2; node -p \"require('left')\"",
        shows: "padded",
        used: &[".npm/_cacache"],
        fills: Fills::Surely,
        variables: Vec::new(),
    }
    .run(ground, checks)
}

/// Writes a wheel: a zip archive with its list of files.
const WHEEL: &str = r#"
import sys, zipfile
with zipfile.ZipFile(sys.argv[1] + "/left-1.0.0-py3-none-any.whl", "w") as wheel:
    names = []
    def add(name, text):
        names.append(name)
        wheel.writestr(name, text)
    add("left.py", "pad = 'padded'\n")
    add("left-1.0.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: left\nVersion: 1.0.0\n")
    add("left-1.0.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    record = "".join(name + ",,\n" for name in names + ["left-1.0.0.dist-info/RECORD"])
    wheel.writestr("left-1.0.0.dist-info/RECORD", record)
"#;

fn pip(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let cure = "install Python with pip and venv (Debian: python3-pip)";
    let needed = [
        ["python3", "-m", "pip", "--version"],
        ["python3", "-m", "venv", "--help"],
    ];
    for words in needed {
        if lacks(&launch, checks, &words, cure) {
            return Ok(());
        }
    }
    Job {
        files: &[("outside/wheel.py", WHEEL)],
        prepare: "python3 \"$OUT/wheel.py\" \"$OUT\"",
        // pip says it when it can't use its cache, and goes on without.
        work: "rm -rf .venv; python3 -m venv --without-pip .venv; \
               python3 -m pip --python .venv/bin/python install --no-index --find-links \"$OUT\" left > log 2>&1 || { cat log >&2; exit 1; }; \
               ! grep 'cache has been disabled' log; rm log; .venv/bin/python -c 'import left; print(left.pad)'",
        shows: "padded",
        used: &[".cache/pip"],
        fills: Fills::Perhaps,
        variables: Vec::new(),
    }
    .run(ground, checks)
}

fn uv(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let Some(uv) = find("uv") else {
        checks.skip("uv is not installed: install it from its makers");
        return Ok(());
    };
    let name = uv.to_string_lossy().into_owned();
    let launch = Launch::new(ground, &fixture);
    let cure = "it must be readable for this user, with Python";
    if lacks(&launch, checks, &[&name, "--version"], cure)
        || lacks(&launch, checks, &["python3", "-c", "pass"], cure)
    {
        return Ok(());
    }
    if launch.inside(&[&name, "--version"])?.code() != 0 {
        checks.skip(format!("{name} lies where no session can see it"));
        return Ok(());
    }
    Job {
        files: &[("outside/wheel.py", WHEEL)],
        prepare: "python3 \"$OUT/wheel.py\" \"$OUT\"",
        work: "\"$UV\" venv --quiet --clear --offline --python python3 .venv; \
               \"$UV\" pip install --quiet --offline --no-index --find-links \"$OUT\" left; \
               .venv/bin/python -c 'import left; print(left.pad)'",
        shows: "padded",
        used: &[".cache/uv"],
        fills: Fills::Surely,
        variables: vec![("UV", uv.into_os_string())],
    }
    .run(ground, checks)
}

/// Writes what a module proxy serves for one module.
const PROXY: &str = r#"
import os, sys, zipfile
place = sys.argv[1] + "/proxy/example.com/left/@v"
os.makedirs(place)
def write(name, text):
    with open(place + "/" + name, "w") as file:
        file.write(text)
write("list", "v1.0.0\n")
write("v1.0.0.info", '{"Version": "v1.0.0", "Time": "2020-01-01T00:00:00Z"}')
write("v1.0.0.mod", "module example.com/left\n")
with zipfile.ZipFile(place + "/v1.0.0.zip", "w") as module:
    module.writestr("example.com/left@v1.0.0/go.mod", "module example.com/left\n")
    module.writestr("example.com/left@v1.0.0/left.go", "package left\n\nconst Pad = \"padded\"\n")
"#;

fn go(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    if lacks(
        &launch,
        checks,
        &["go", "version"],
        "install Go (Debian: golang-go)",
    ) || lacks(
        &launch,
        checks,
        &["python3", "-c", "pass"],
        "install Python",
    ) {
        return Ok(());
    }
    Job {
        files: &[
            ("outside/proxy.py", PROXY),
            (
                "home/project/go.mod",
                "module example.com/app\n\ngo 1.18\n\nrequire example.com/left v1.0.0\n",
            ),
            (
                "home/project/main.go",
                "package main\n\nimport \"example.com/left\"\n\nfunc main() { print(left.Pad + \"\\n\") }\n",
            ),
        ],
        prepare: "python3 \"$OUT/proxy.py\" \"$OUT\"",
        work: "export GOPROXY=\"file://$OUT/proxy\" GOSUMDB=off GOFLAGS='-mod=mod -modcacherw'; go build -o app; ./app 2>&1",
        shows: "padded",
        used: &[".cache/go-build", "go/pkg/mod"],
        fills: Fills::Surely,
        variables: Vec::new(),
    }
    .run(ground, checks)
}

fn maven(ground: &Ground, checks: &mut Checks) -> Result<(), Failure> {
    const REPOSITORY: &str = "/usr/share/maven-repo";
    let fixture = ground.fixture()?;
    let launch = Launch::new(ground, &fixture);
    let plugins = format!("{REPOSITORY}/org/apache/maven/plugins/maven-resources-plugin");
    let cure = "install Maven (Debian: maven)";
    let more = "install a plugin of Maven's (Debian: libmaven-resources-plugin-java)";
    if lacks(&launch, checks, &["mvn", "--version"], cure)
        || lacks(&launch, checks, &["test", "-d", &plugins], more)
    {
        return Ok(());
    }
    let mut versions: Vec<String> = std::fs::read_dir(&plugins)
        .context(|| format!("listing {plugins}"))?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(|first: char| first.is_ascii_digit()))
        .collect();
    versions.sort();
    let Some(version) = versions.pop() else {
        checks.skip(format!("{plugins} holds no version"));
        return Ok(());
    };
    let pom = format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>com.example</groupId><artifactId>app</artifactId>\
         <version>1</version><properties><project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>\
         </properties><build><plugins><plugin><artifactId>maven-resources-plugin</artifactId>\
         <version>{version}</version></plugin></plugins></build></project>"
    );
    Job {
        files: &[
            ("home/project/pom.xml", &pom),
            ("home/project/src/main/resources/shown", "padded\n"),
        ],
        prepare: "mkdir -p \"$HOME/.m2\"; cp -rL /usr/share/maven-repo \"$HOME/.m2/repository\"",
        // Java takes the home from the user database, and so would Maven.
        work: "export MAVEN_OPTS=\"-Duser.home=$HOME\"; rm -rf target; mvn -o -q -B process-resources >&2; \
               cat target/classes/shown",
        shows: "padded",
        used: &[".m2/repository"],
        fills: Fills::Perhaps,
        variables: Vec::new(),
    }
    .run(ground, checks)
}
