//! Programs that take a secret behind a short option: one list for command lines, whose words are known (`arguments`), and for
//! texts, in which a command may stand (`commands`).

/// A kind of programs.
pub(super) struct Program {
    pub(super) names: &'static [&'static str],
    pub(super) short: Short,
    pub(super) in_texts: InTexts,
}

/// Short options that take a secret.
#[derive(Clone, Copy)]
pub(super) struct Short {
    /// The options with one sign in front: `-uU` is `-u` and `-U`.
    pub(super) options: &'static str,
    /// The secret stands right behind the letter, never in the next word.
    pub(super) only_glued: bool,
}

/// How texts are searched for these programs. There a word is only a password if it looks like one.
#[derive(Clone, Copy)]
pub(super) enum InTexts {
    /// The one option means the same.
    Same,
    /// These options (the long ones too) have a user name and a colon before the password.
    User(&'static [&'static str]),
    /// The name stands in too many other texts, or begins as too many words do. In a command line it is a word of its own.
    Not,
}

/// All of them.
pub(super) const PROGRAMS: [Program; 10] = [
    program(
        &["mongo", "mongosh", "mongodump", "mongorestore", "mongoexport", "mongoimport"],
        next("-p"),
        InTexts::Not,
    ),
    program(&["curl"], next("-uUHb"), InTexts::User(&["-u", "--user", "-U", "--proxy-user"])),
    program(&["http", "https", "xh", "xhs"], next("-a"), InTexts::Not),
    program(&["redis-cli"], next("-a"), InTexts::Same),
    program(&["sshpass"], next("-p"), InTexts::Same),
    program(&["ldapsearch", "ldapmodify", "ldapadd", "ldapdelete", "ldapwhoami"], next("-w"), InTexts::Same),
    program(&["sqlcmd", "zip", "unzip"], next("-P"), InTexts::Same),
    program(&["smbclient"], next("-U"), InTexts::User(&["-U"])),
    program(
        &["mysql", "mysqldump", "mysqladmin", "mariadb", "mariadb-dump", "mariadb-admin"],
        Short { options: "-p", only_glued: true },
        InTexts::Same,
    ),
    program(&["7z", "7za", "7zz"], Short { options: "-p", only_glued: true }, InTexts::Not),
];

const fn program(names: &'static [&'static str], short: Short, in_texts: InTexts) -> Program {
    Program { names, short, in_texts }
}

/// The secret stands behind the letter or in the next word.
const fn next(options: &'static str) -> Short {
    Short { options, only_glued: false }
}
