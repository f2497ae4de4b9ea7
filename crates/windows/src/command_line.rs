//! One command line out of many arguments, so that the program reads the same arguments back.
//!
//! Windows hands a process one string; each program takes it apart itself, nearly all of them by the rules of
//! `CommandLineToArgvW` and the C runtime (learn.microsoft.com "Parsing C command-line arguments"). Batch files are
//! the exception: `cmd.exe` reads the line first, by rules of its own that no quoting satisfies in all cases.
//!
//! Text is UTF-16 units here: arguments need not be well-formed. Invariant: what is quoted here is read back equal.

/// The longest command line of `CreateProcess`, with its final zero, in units.
pub const MAX_LENGTH: usize = 32_767;

/// Why arguments make no command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    /// An argument holds a zero.
    #[error("argument {0} holds a zero character")]
    Zero(usize),
    /// The line is longer than Windows takes.
    #[error("the command line has {0} units, and Windows takes 32,767")]
    TooLong(usize),
    /// The program's name holds a quotation mark: no file can have it.
    #[error("the program's name holds a quotation mark")]
    ProgramName,
    /// The batch file's own path holds a character that `cmd.exe` acts upon even between quotation marks.
    #[error("the path of the batch file holds a character that cmd.exe would act upon")]
    BatchName,
    /// The program is a batch file, and an argument holds what `cmd.exe` may read as its own.
    #[error("argument {0} of a batch file holds a character that cmd.exe would act upon")]
    Batch(usize),
}

const QUOTE: u16 = b'"' as u16;
const BACKSLASH: u16 = b'\\' as u16;

/// Makes the command line of `program` and `arguments`, without a final zero.
///
/// # Errors
/// [`CommandLineError`].
///
/// # Security
/// Arguments may come from anywhere. For a batch file each must be free of what `cmd.exe` acts upon, whatever its
/// quoting: the line would be another command otherwise.
pub fn build(program: &[u16], arguments: &[Vec<u16>]) -> Result<Vec<u16>, CommandLineError> {
    if program.contains(&QUOTE) {
        return Err(CommandLineError::ProgramName);
    }
    let is_batch = is_batch_file(program);
    let mut line = vec![QUOTE];
    line.extend(program);
    line.push(QUOTE);
    for (index, argument) in arguments.iter().enumerate() {
        if argument.contains(&0) {
            return Err(CommandLineError::Zero(index));
        }
        if is_batch && !argument.iter().all(|unit| is_plain_for_cmd(*unit)) {
            return Err(CommandLineError::Batch(index));
        }
        line.push(b' '.into());
        quote(argument, &mut line);
    }
    if line.len() >= MAX_LENGTH {
        return Err(CommandLineError::TooLong(line.len()));
    }
    Ok(line)
}

/// Makes the command line with which `interpreter`, a `cmd.exe`, runs the batch file `script`, without a final zero.
///
/// Without `AutoRun` (`/d`) and without delayed expansion; what stands between the outer quotation marks is the command
/// as it is (`cmd /?`, on `/s`).
///
/// # Errors
/// [`CommandLineError`].
///
/// # Security
/// As for [`build`]; the path of the script may come from anywhere too.
pub fn batch(
    interpreter: &[u16],
    script: &[u16],
    arguments: &[Vec<u16>],
) -> Result<Vec<u16>, CommandLineError> {
    let acted_upon = |unit: &u16| [QUOTE, b'%'.into()].contains(unit) || *unit < 0x20;
    if script.iter().any(acted_upon) {
        return Err(CommandLineError::BatchName);
    }
    let mut line = build(interpreter, &[])?;
    line.extend(" /d /v:off /s /c \"\"".encode_utf16());
    line.extend(script);
    line.push(QUOTE);
    for (index, argument) in arguments.iter().enumerate() {
        if !argument.iter().all(|unit| is_plain_for_cmd(*unit)) || argument.contains(&0) {
            return Err(CommandLineError::Batch(index));
        }
        line.extend([b' '.into(), QUOTE]);
        line.extend(argument);
        line.push(QUOTE);
    }
    line.push(QUOTE);
    if line.len() >= MAX_LENGTH {
        return Err(CommandLineError::TooLong(line.len()));
    }
    Ok(line)
}

/// Whether `cmd.exe` would run this file: the extension decides, and Windows strips trailing dots and spaces first.
#[must_use]
pub fn is_batch_file(program: &[u16]) -> bool {
    let text = String::from_utf16_lossy(program).to_lowercase();
    let name = text.trim_end_matches(['.', ' ']);
    name.rsplit(['\\', '/'])
        .next()
        .and_then(|file| file.rsplit_once('.'))
        .is_some_and(|(_, extension)| extension == "bat" || extension == "cmd")
}

/// Letters, digits and marks that mean nothing to `cmd.exe` in any position; beyond ASCII all but controls.
fn is_plain_for_cmd(unit: u16) -> bool {
    match u8::try_from(unit) {
        Ok(byte) if byte.is_ascii() => {
            byte.is_ascii_alphanumeric() || b" #$*+-./:?@\\_".contains(&byte)
        }
        Ok(_) | Err(_) => unit > 0x9f,
    }
}

fn quote(argument: &[u16], line: &mut Vec<u16>) {
    let bare = |unit: &u16| ![QUOTE, b' '.into(), b'\t'.into(), b'\n'.into(), 0x0b].contains(unit);
    if !argument.is_empty() && argument.iter().all(bare) {
        line.extend(argument);
        return;
    }
    line.push(QUOTE);
    let mut backslashes = 0;
    for unit in argument {
        match *unit {
            BACKSLASH => backslashes += 1,
            // Each backslash before a quotation mark is doubled, and the mark itself escaped.
            QUOTE => {
                line.extend(std::iter::repeat_n(BACKSLASH, backslashes + 1));
                backslashes = 0;
            }
            _ => backslashes = 0,
        }
        line.push(*unit);
    }
    line.extend(std::iter::repeat_n(BACKSLASH, backslashes));
    line.push(QUOTE);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    fn line(program: &str, arguments: &[&str]) -> Result<String, CommandLineError> {
        let arguments: Vec<_> = arguments.iter().map(|text| units(text)).collect();
        build(&units(program), &arguments).map(|line| String::from_utf16(&line).unwrap())
    }

    /// Takes a line apart as the C runtime documents it, without the shortcut for `""` inside quotes.
    fn parse(line: &str) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut rest = line.strip_prefix('"').unwrap();
        let (program, after) = rest.split_once('"').unwrap();
        arguments.push(program.to_owned());
        rest = after;
        let mut current: Option<String> = None;
        let (mut quoted, mut backslashes) = (false, 0);
        for character in rest.chars().chain([' ']) {
            match character {
                '\\' => {
                    current.get_or_insert_default();
                    backslashes += 1;
                }
                '"' => {
                    let text = current.get_or_insert_default();
                    text.extend(std::iter::repeat_n('\\', backslashes / 2));
                    if backslashes % 2 == 1 {
                        text.push('"');
                    } else {
                        quoted = !quoted;
                    }
                    backslashes = 0;
                }
                ' ' | '\t' if !quoted => {
                    if let Some(mut text) = current.take() {
                        text.extend(std::iter::repeat_n('\\', backslashes));
                        arguments.push(text);
                    }
                    backslashes = 0;
                }
                other => {
                    let text = current.get_or_insert_default();
                    text.extend(std::iter::repeat_n('\\', backslashes));
                    text.push(other);
                    backslashes = 0;
                }
            }
        }
        arguments
    }

    #[test]
    fn what_is_quoted_is_read_back() {
        let hostile = [
            "",
            " ",
            "a b",
            "\"",
            "\\",
            "\\\\",
            "a\\",
            "a b\\",
            "\\\"",
            "\\\\\"x",
            "a\\\\b c\\\\",
            "\t",
            "--x=\"y z\"",
            "%PATH%",
            "日本 語",
            "&|<>^",
        ];
        for first in hostile {
            for second in hostile {
                let line = line("C:\\Program Files\\x.exe", &[first, second]).unwrap();
                let read = parse(&line);
                assert_eq!(read, ["C:\\Program Files\\x.exe", first, second], "{line}");
            }
        }
    }

    #[test]
    fn a_batch_file_gets_no_argument_that_cmd_would_act_upon() {
        for program in ["x.bat", "C:\\a\\X.CMD", "x.bat.", "x.cmd ", "x.bat . ."] {
            assert!(line(program, &["plain-1.2 C:\\a"]).is_ok(), "{program}");
            for argument in [
                "a&calc",
                "\"&calc",
                "%CMDCMDLINE:~-1%",
                "^",
                "a|b",
                "(",
                "\n",
                "!x!",
            ] {
                assert_eq!(
                    line(program, &["x", argument]),
                    Err(CommandLineError::Batch(1)),
                    "{argument}"
                );
            }
        }
        for program in ["x.exe", "C:\\a.bat\\x.exe", "bat", "x.batx"] {
            assert!(line(program, &["a&calc"]).is_ok(), "{program}");
        }
    }

    #[test]
    fn a_batch_file_is_run_by_the_interpreter_with_its_words_quoted() {
        let batch = |script: &str, arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(|text| units(text)).collect();
            batch(&units("C:\\W\\cmd.exe"), &units(script), &arguments)
                .map(|line| String::from_utf16(&line).unwrap())
        };
        assert_eq!(
            batch("C:\\a & b\\x.cmd", &["one", "two three", ""]).unwrap(),
            "\"C:\\W\\cmd.exe\" /d /v:off /s /c \"\"C:\\a & b\\x.cmd\" \"one\" \"two three\" \"\"\""
        );
        for script in ["C:\\%PATH%\\x.cmd", "C:\\a\"b.cmd", "C:\\a\nb.cmd"] {
            assert_eq!(batch(script, &[]), Err(CommandLineError::BatchName));
        }
        for argument in ["\" & calc", "%x%", "a^b", "a\rb"] {
            assert_eq!(
                batch("C:\\x.cmd", &["plain", argument]),
                Err(CommandLineError::Batch(1))
            );
        }
    }

    #[test]
    fn what_windows_could_not_take_is_refused() {
        assert_eq!(line("x\".exe", &[]), Err(CommandLineError::ProgramName));
        assert_eq!(line("x.exe", &["a\0b"]), Err(CommandLineError::Zero(0)));
        let long = "x".repeat(MAX_LENGTH);
        assert!(matches!(
            line("x.exe", &[&long]),
            Err(CommandLineError::TooLong(_))
        ));
    }
}
