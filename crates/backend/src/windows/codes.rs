//! The codes that a start as another user, or a set-up, fails with: what each means here, and what to do about it.
//!
//! Codes alone reach a person otherwise, or the system's text in a language that no search finds. Invariant: each
//! entry names a cause on the machine and a next step that a person can take.
//!
//! Source: learn.microsoft.com "System Error Codes", "Network Management Error Codes", `CreateProcessWithLogonW`.

use std::fmt::Write as _;

/// A Win32 code, its cause here and its cure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeMeaning {
    /// The number.
    pub code: u32,
    /// Its name in Microsoft's headers.
    pub name: &'static str,
    /// Why Ringfence meets it.
    pub cause: &'static str,
    /// What to do.
    pub cure: &'static str,
}

/// Every code that is known, by number.
pub const CODES: &[CodeMeaning] = &[
    CodeMeaning {
        code: 5,
        name: "ERROR_ACCESS_DENIED",
        cause: "set-up does not run as administrator, or the sandbox account may not enter the program's directory",
        cure: "run `ringfence setup install` again and consent; where it names a program, let the group read its directory with `ringfence setup repair`",
    },
    CodeMeaning {
        code: 183,
        name: "ERROR_ALREADY_EXISTS",
        cause: "something that Ringfence did not make so stands in the place of what is named, as a directory of its own: anybody may make one in `%ProgramData%`",
        cure: "as administrator, look whose it is (`icacls` with its path) and move it away, then run the command again",
    },
    CodeMeaning {
        code: 267,
        name: "ERROR_DIRECTORY",
        cause: "the sandbox account can't enter the working directory",
        cure: "run `ringfence setup repair` in the workspace; its ancestors let the group pass then",
    },
    CodeMeaning {
        code: 740,
        name: "ERROR_ELEVATION_REQUIRED",
        cause: "the program asks for an administrator, and sandboxed commands never are one",
        cure: "start another program; an installer belongs outside the sandbox",
    },
    CodeMeaning {
        code: 1058,
        name: "ERROR_SERVICE_DISABLED",
        cause: "the Secondary Logon service (seclogon) is disabled",
        cure: "as administrator: `sc.exe config seclogon start= demand`; where policy disables it, ask who governs the machine",
    },
    CodeMeaning {
        code: 1223,
        name: "ERROR_CANCELLED",
        cause: "the question for administrator's rights was answered with no",
        cure: "run the command again and consent, or give an administrator the plan from `ringfence plan`",
    },
    CodeMeaning {
        code: 1312,
        name: "ERROR_NO_SUCH_LOGON_SESSION",
        cause: "there is no logon session that the sandbox account could be started from: a service or a remote shell started Ringfence",
        cure: "start it from a session that was signed in to with a password or at the screen",
    },
    CodeMeaning {
        code: 1326,
        name: "ERROR_LOGON_FAILURE",
        cause: "the sealed password is not the account's: somebody has set another",
        cure: "run `ringfence setup repair`: it makes a new one; nothing is tried twice, so that the account is not locked out",
    },
    CodeMeaning {
        code: 1327,
        name: "ERROR_ACCOUNT_RESTRICTION",
        cause: "a policy restricts where or when the account may sign in",
        cure: "ask who governs the machine to let local standard accounts sign in",
    },
    CodeMeaning {
        code: 1330,
        name: "ERROR_PASSWORD_EXPIRED",
        cause: "a policy lets passwords expire against the account's own setting",
        cure: "run `ringfence setup repair`: it makes a new password and sets that it never expires",
    },
    CodeMeaning {
        code: 1331,
        name: "ERROR_ACCOUNT_DISABLED",
        cause: "the sandbox account is disabled: an administrator did it, or an uninstall began",
        cure: "run `ringfence setup repair`, or finish `ringfence setup uninstall`",
    },
    CodeMeaning {
        code: 1385,
        name: "ERROR_LOGON_TYPE_NOT_GRANTED",
        cause: "a policy does not let local users sign in at this machine (`SeInteractiveLogonRight`)",
        cure: "let Users, or the Ringfence group, \"Allow log on locally\" in the local security policy",
    },
    CodeMeaning {
        code: 1907,
        name: "ERROR_PASSWORD_MUST_CHANGE",
        cause: "a policy wants the account's password changed at its first sign-in",
        cure: "run `ringfence setup repair`: it sets the password anew without that mark",
    },
    CodeMeaning {
        code: 1909,
        name: "ERROR_ACCOUNT_LOCKED_OUT",
        cause: "somebody tried wrong passwords on the sandbox account",
        cure: "wait for the lock-out's time to pass, or unlock it in Local Users and Groups; then run `ringfence setup verify`",
    },
    CodeMeaning {
        code: 2245,
        name: "NERR_PasswordTooShort",
        cause: "a policy of the machine or domain refuses the password that set-up made: 32 characters of every class",
        cure: "ask for the password filter or the minimum length in force; set-up changed nothing",
    },
];

/// What `code` means here, if it is one that is known.
#[must_use]
pub fn explain_code(code: u32) -> Option<&'static CodeMeaning> {
    CODES
        .binary_search_by_key(&code, |meaning| meaning.code)
        .ok()
        .and_then(|index| CODES.get(index))
}

/// Every code as a table, for `docs/windows.md`.
#[must_use]
pub fn render_codes() -> String {
    let mut text = String::from("| code | name | cause | cure |\n|---|---|---|---|\n");
    for meaning in CODES {
        let cell = |words: &str| words.replace('|', "\\|");
        // Writing to a String can't fail.
        let _ = writeln!(
            text,
            "| {} | `{}` | {} | {} |",
            meaning.code,
            meaning.name,
            cell(meaning.cause),
            cell(meaning.cure)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_a_start_as_another_user_has_a_cause_and_a_cure() {
        let known = [
            5, 183, 267, 740, 1058, 1223, 1312, 1326, 1327, 1330, 1331, 1385, 1907, 1909, 2245,
        ];
        let listed: Vec<u32> = CODES.iter().map(|meaning| meaning.code).collect();
        assert_eq!(listed, known, "sorted, for the search");
        for code in known {
            let meaning = explain_code(code).unwrap();
            assert_eq!(meaning.code, code);
            assert!(!meaning.cause.ends_with('.') && !meaning.cure.ends_with('.'));
        }
        assert_eq!(explain_code(0), None);
    }

    #[test]
    fn the_administrators_page_lists_every_code() {
        const FIRST: &str = "cargo test -p ringfence-backend codes writes it anew. -->\n";
        const LAST: &str = "<!-- end of codes -->";
        let path = format!("{}/../../docs/windows.md", env!("CARGO_MANIFEST_DIR"));
        let page = std::fs::read_to_string(&path).unwrap();
        let (head, rest) = page
            .split_once(FIRST)
            .expect("the page has a place for codes");
        let (_, tail) = rest.split_once(LAST).expect("the place has an end");
        let fresh = format!("{head}{FIRST}{}{LAST}{tail}", render_codes());
        if std::env::var_os("RINGFENCE_BLESS").is_some_and(|bless| bless == "1") {
            std::fs::write(&path, &fresh).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap();
        assert!(
            committed == fresh,
            "docs/windows.md is stale: run `RINGFENCE_BLESS=1 cargo test -p ringfence-backend codes`"
        );
    }
}
