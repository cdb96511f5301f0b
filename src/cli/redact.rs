//! `otas-proxy redact`: what would be masked in a file, for people who tune their settings.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{Done, say};
use crate::config::Flags;
use crate::redact::{FINGERPRINT_KEY_FILE, Fingerprint, Redactor};

/// Show which secrets in a file would be masked, and by which rule
///
/// Each line has a secret's line and column, its rule and its mask. The settings are those that the proxy would use here. The tags
/// are those of the events in its store, if there is one.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The file to search; `-` is standard input
    #[arg(value_name = "FILE", required_unless_present = "rules")]
    file: Option<PathBuf>,
    /// List the rules with an example of each
    #[arg(long, conflicts_with = "file")]
    rules: bool,
    /// Print the whole text as it would be stored
    #[arg(long, requires = "file")]
    text: bool,
    #[command(flatten)]
    flags: Flags,
}

pub(super) fn run(args: &Args) -> Done {
    let config = super::load(&args.flags)?.config;
    let fingerprint = fingerprint(&config.store.path);
    let redactor = Redactor::new(&config.redact, &config.capture.rules, fingerprint)?;
    let Some(file) = &args.file else {
        for (id, rule) in redactor.rules() {
            let example = rule.example.as_deref().unwrap_or("(from the settings)").replace('\n', "\\n");
            let about = rule.service.zip(rule.source);
            let about = about.map_or_else(String::new, |(service, source)| format!("  [{service}; {source}]"));
            say::out(&format!("{id:<36} {}{about}", shortened(&example)))?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let text = read(file)?;
    let mut masking = redactor.masking("", 0, "");
    if args.text {
        say::raw(masking.message(&text).as_deref().unwrap_or(&text))?;
        return Ok(ExitCode::SUCCESS);
    }
    let masks = masking
        .explain(&text)
        .ok_or_else(|| format!("{}: not searched within its time; the proxy would withhold it", file.display()))?;
    for mask in &masks {
        let before = &text[..mask.range.start];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
        say::out(&format!("{}:{line}:{column}: {}: {}", file.display(), mask.rule, mask.shown))?;
    }
    say::err(&format!("{} would be masked", masks.len()));
    Ok(ExitCode::SUCCESS)
}

/// The key for tags that the events in this store have. Where there is no store yet, any key will do.
fn fingerprint(store: &Path) -> Fingerprint {
    let file = store.with_file_name(FINGERPRINT_KEY_FILE);
    if file.exists() {
        match Fingerprint::load_or_create(&file) {
            Ok(fingerprint) => return fingerprint,
            Err(error) => say::err(&format!(
                "otas-proxy: cannot use the key in `{}`: {error}. The tags of masks (`#1a2b3c4d`) differ from those in the events",
                file.display()
            )),
        }
    }
    Fingerprint::new(b"redact")
}

/// The beginning of an example that is too long for a line.
fn shortened(example: &str) -> String {
    const SHOWN_CHARS: usize = 60;
    match example.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &example[..end]),
        None => example.to_owned(),
    }
}

/// The text of a file. Bytes that are no UTF-8 are replaced, as in what is stored.
fn read(file: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let done = match file == Path::new("-") {
        true => std::io::stdin().read_to_end(&mut bytes).map(drop),
        false => std::fs::read(file).map(|read| bytes = read),
    };
    done.map_err(|error| match error.kind() {
        io::ErrorKind::IsADirectory => format!("`{}` is a folder; name a file in it", file.display()),
        _ => format!(
            "cannot read `{}`: {error}. Name a file that this user can read, or `-` for standard input",
            file.display()
        ),
    })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
