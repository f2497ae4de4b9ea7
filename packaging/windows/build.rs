//! Puts the manifest beside this file into a Windows program: its execution level, long paths, UTF-8.
//!
//! The build script of every program that runs on Windows. Without a manifest Windows guesses by the program's name
//! whether it must be elevated (a name with "setup" is, and a plain start of it fails with 740), and gives it a
//! virtual registry. Which level a program has is its `[package.metadata.windows] execution-level`.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The manifest, with a place for the level.
const TEMPLATE: &str = include_str!("program.manifest");

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=Cargo.toml");
    println!("cargo::rerun-if-env-changed=RINGFENCE_WINDRES");
    if env::var("CARGO_CFG_TARGET_OS")? != "windows" {
        return Ok(());
    }
    let package =
        fs::read_to_string(Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("Cargo.toml"))?;
    let level = execution_level(&package).ok_or("Cargo.toml names no execution-level")?;
    let out = env::var("OUT_DIR")?;
    let manifest = Path::new(&out).join("program.manifest");
    fs::write(&manifest, TEMPLATE.replace("EXECUTION-LEVEL", level))?;
    if env::var("CARGO_CFG_TARGET_ENV")? == "msvc" {
        println!("cargo::rustc-link-arg-bins=/MANIFEST:EMBED");
        let manifest = manifest.display();
        println!("cargo::rustc-link-arg-bins=/MANIFESTINPUT:{manifest}");
        // The linker would add a level of its own.
        println!("cargo::rustc-link-arg-bins=/MANIFESTUAC:NO");
        // Libraries that the program is linked with come from the system's directory, never from beside the program:
        // LOAD_LIBRARY_SEARCH_SYSTEM32.
        println!("cargo::rustc-link-arg-bins=/DEPENDENTLOADFLAG:0x800");
    } else {
        let object = compile(Path::new(&out))?;
        println!("cargo::rustc-link-arg-bins={object}");
    }
    Ok(())
}

/// The value of `execution-level`.
fn execution_level(package: &str) -> Option<&str> {
    let line = package
        .lines()
        .find(|line| line.starts_with("execution-level"))?;
    let level = line.split('"').nth(1)?;
    ["asInvoker", "requireAdministrator"]
        .contains(&level)
        .then_some(level)
}

/// Makes an object of the manifest that GNU's linker takes: resource 1 of type 24 (`RT_MANIFEST`).
fn compile(out: &Path) -> Result<String, Box<dyn Error>> {
    let script = out.join("program.rc");
    fs::write(&script, "1 24 \"program.manifest\"\n")?;
    let object = out.join("program-manifest.o");
    let windres =
        env::var("RINGFENCE_WINDRES").unwrap_or_else(|_| "x86_64-w64-mingw32-windres".to_owned());
    let status = Command::new(&windres)
        .current_dir(out)
        .arg("--input=program.rc")
        .arg(format!("--output={}", object.display()))
        .arg("--output-format=coff")
        .status()
        .map_err(|error| format!("start {windres} (package binutils-mingw-w64-x86-64): {error}"))?;
    if !status.success() {
        return Err(format!("{windres} failed: {status}").into());
    }
    Ok(object.display().to_string())
}
