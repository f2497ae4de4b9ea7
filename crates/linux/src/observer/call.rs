//! Which paths a notified call names, and what it does to each: by its name and its arguments alone.
//!
//! Nothing is read from a target here. Invariant: a call that is not known here names no path.

/// Where a path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// The working directory.
    WorkingDirectory,
    /// An open descriptor.
    Descriptor(i32),
}

/// Whether the last name is followed when it is a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follow {
    /// It is.
    Yes,
    /// The link itself is meant.
    No,
}

/// What a call does to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Makes a name that must not exist.
    Create,
    /// Makes a name, or changes or replaces what has it.
    CreateOrChange,
    /// Changes the content or attributes of what has the name.
    Change,
    /// Changes mode, owner or times: the owner's right.
    ChangeAttributes,
    /// Takes the name away.
    Remove,
    /// Reads it.
    Read,
    /// Executes it.
    Execute,
    /// Gives it a second name, by which it can be changed later.
    Name,
}

impl Effect {
    /// Whether a name may be there afterwards that was not before.
    pub(super) fn makes_names(self) -> bool {
        match self {
            Self::Create | Self::CreateOrChange => true,
            Self::Change
            | Self::ChangeAttributes
            | Self::Remove
            | Self::Read
            | Self::Execute
            | Self::Name => false,
        }
    }
}

/// One path of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathArgument {
    /// Where it begins unless it is absolute.
    pub(super) base: Base,
    /// The address of its bytes; `None` for the object that `base` is.
    pub(super) address: Option<u64>,
    /// Whether a last link is followed.
    pub(super) follow: Follow,
    /// What happens to it.
    pub(super) effect: Effect,
}

/// The paths of a call: none, one, or two.
pub(super) type Paths = [Option<PathArgument>; 2];

const NONE: Paths = [None, None];

fn flags(argument: u64) -> i32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the kernel takes the low half too"
    )]
    (argument as u32).cast_signed()
}

fn base(argument: u64) -> Base {
    match flags(argument) {
        libc::AT_FDCWD => Base::WorkingDirectory,
        descriptor => Base::Descriptor(descriptor),
    }
}

fn follow_unless(argument: u64, flag: i32) -> Follow {
    if flags(argument) & flag == 0 {
        Follow::Yes
    } else {
        Follow::No
    }
}

fn one(base: Base, address: u64, follow: Follow, effect: Effect) -> Paths {
    let path = PathArgument {
        base,
        address: Some(address),
        follow,
        effect,
    };
    [Some(path), None]
}

fn object(descriptor: u64, effect: Effect) -> Paths {
    let path = PathArgument {
        base: Base::Descriptor(flags(descriptor)),
        address: None,
        follow: Follow::Yes,
        effect,
    };
    [Some(path), None]
}

fn open(base: Base, address: u64, flag_argument: u64) -> Paths {
    let flags = flags(flag_argument);
    let exclusive = flags & libc::O_CREAT != 0 && flags & libc::O_EXCL != 0;
    let temporary = flags & libc::O_TMPFILE == libc::O_TMPFILE;
    let writes = flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0;
    let effect = if exclusive {
        Effect::Create
    } else if flags & libc::O_CREAT != 0 || temporary {
        Effect::CreateOrChange
    } else if writes {
        Effect::Change
    } else {
        Effect::Read
    };
    let follow = if exclusive {
        Follow::No
    } else {
        follow_unless(flag_argument, libc::O_NOFOLLOW)
    };
    one(base, address, follow, effect)
}

fn rename(from: (Base, u64), to: (Base, u64), exchange: bool) -> Paths {
    let path = |(base, address), effect| {
        Some(PathArgument {
            base,
            address: Some(address),
            follow: Follow::No,
            effect,
        })
    };
    let source = if exchange {
        Effect::CreateOrChange
    } else {
        Effect::Remove
    };
    [path(from, source), path(to, Effect::CreateOrChange)]
}

fn follow_if(argument: u64, flag: i32) -> Follow {
    if flags(argument) & flag == 0 {
        Follow::No
    } else {
        Follow::Yes
    }
}

fn link(from: (Base, u64, Follow), to: (Base, u64)) -> Paths {
    let path = |base, address, follow, effect| {
        Some(PathArgument {
            base,
            address: Some(address),
            follow,
            effect,
        })
    };
    [
        path(from.0, from.1, from.2, Effect::Name),
        path(to.0, to.1, Follow::No, Effect::Create),
    ]
}

/// The paths that the call `name` names with `arguments`.
#[expect(
    clippy::many_single_char_names,
    reason = "the arguments are numbered, not named"
)]
pub(super) fn paths(name: &str, arguments: &[u64; 6]) -> Paths {
    let [a, b, c, d, e, _] = *arguments;
    let here = Base::WorkingDirectory;
    let nofollow = libc::AT_SYMLINK_NOFOLLOW;
    match name {
        "open" => open(here, a, b),
        "openat" => open(base(a), b, c),
        "creat" => one(here, a, Follow::Yes, Effect::CreateOrChange),
        "mkdir" | "mknod" => one(here, a, Follow::No, Effect::Create),
        "mkdirat" | "mknodat" => one(base(a), b, Follow::No, Effect::Create),
        "link" => link((here, a, Follow::No), (here, b)),
        "linkat" => link(
            (base(a), b, follow_if(e, libc::AT_SYMLINK_FOLLOW)),
            (base(c), d),
        ),
        "symlink" => one(here, b, Follow::No, Effect::Create),
        "symlinkat" => one(base(b), c, Follow::No, Effect::Create),
        "rename" => rename((here, a), (here, b), false),
        "renameat" => rename((base(a), b), (base(c), d), false),
        "renameat2" => {
            let exchange = e & u64::from(libc::RENAME_EXCHANGE) != 0;
            rename((base(a), b), (base(c), d), exchange)
        }
        "unlink" | "rmdir" => one(here, a, Follow::No, Effect::Remove),
        "unlinkat" => one(base(a), b, Follow::No, Effect::Remove),
        "truncate" | "setxattr" | "removexattr" => one(here, a, Follow::Yes, Effect::Change),
        "lsetxattr" | "lremovexattr" => one(here, a, Follow::No, Effect::Change),
        "fsetxattr" | "fremovexattr" => object(a, Effect::Change),
        "setxattrat" | "removexattrat" => {
            one(base(a), b, follow_unless(c, nofollow), Effect::Change)
        }
        "chmod" | "chown" | "utime" | "utimes" => {
            one(here, a, Follow::Yes, Effect::ChangeAttributes)
        }
        "lchown" => one(here, a, Follow::No, Effect::ChangeAttributes),
        "fchmod" | "fchown" => object(a, Effect::ChangeAttributes),
        "fchmodat" | "futimesat" => one(base(a), b, Follow::Yes, Effect::ChangeAttributes),
        "fchmodat2" | "utimensat" => one(
            base(a),
            b,
            follow_unless(d, nofollow),
            Effect::ChangeAttributes,
        ),
        "fchownat" | "file_setattr" => one(
            base(a),
            b,
            follow_unless(e, nofollow),
            Effect::ChangeAttributes,
        ),
        "execve" => one(here, a, Follow::Yes, Effect::Execute),
        "execveat" => one(base(a), b, follow_unless(e, nofollow), Effect::Execute),
        _ => NONE,
    }
}
