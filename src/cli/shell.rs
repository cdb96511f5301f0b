//! The shells and file formats in which variables are printed.

use clap::ValueEnum;

/// A shell or a format.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Shell {
    /// `export NAME='value'`, for every shell like it
    #[value(aliases = ["sh", "zsh", "dash", "ksh", "ash", "posix"])]
    Bash,
    /// `set -gx NAME 'value'`
    Fish,
    /// `$env:NAME = 'value'`
    #[value(alias = "powershell")]
    Pwsh,
    /// `setenv NAME 'value'`
    #[value(alias = "tcsh")]
    Csh,
    /// `$env.NAME = 'value'`
    #[value(alias = "nushell")]
    Nu,
    /// `NAME="value"`
    Dotenv,
    /// `NAME=value`, for `docker run --env-file`
    Docker,
    /// The part of an agent's container in a pod whose sidecar is the proxy: `env` and `volumeMounts`
    K8s,
}

/// The line that sets a variable.
pub(super) fn line(shell: Shell, name: &str, value: &str) -> String {
    match shell {
        Shell::Bash => format!("export {name}='{}'", value.replace('\'', r"'\''")),
        Shell::Fish => format!("set -gx {name} '{}'", value.replace('\\', r"\\").replace('\'', r"\'")),
        Shell::Pwsh => format!("$env:{name} = '{}'", value.replace('\'', "''")),
        // csh expands `!` inside quotes, too.
        Shell::Csh => format!("setenv {name} '{}'", value.replace('\'', r"'\''").replace('!', r"\!")),
        Shell::Nu => format!("$env.{name} = {}", serde_json::Value::from(value)),
        Shell::Dotenv => {
            format!("{name}=\"{}\"", value.replace('\\', r"\\").replace('"', "\\\"").replace('$', "\\$"))
        }
        Shell::Docker => format!("{name}={value}"),
        Shell::K8s => format!("- name: {name}\n  value: {}", serde_json::Value::from(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_known_by_each_of_its_names() {
        for name in ["bash", "sh", "zsh", "dash", "ksh", "fish", "pwsh", "powershell", "csh", "tcsh", "nu", "nushell"]
        {
            assert!(Shell::from_str(name, false).is_ok(), "{name}");
        }
    }

    #[test]
    fn values_are_quoted_as_each_shell_reads_them() {
        let said = |shell| line(shell, "A", "it's \"5\\$\"");
        assert_eq!(said(Shell::Bash), r#"export A='it'\''s "5\$"'"#);
        assert_eq!(said(Shell::Fish), r#"set -gx A 'it\'s "5\\$"'"#);
        assert_eq!(said(Shell::Pwsh), r#"$env:A = 'it''s "5\$"'"#);
        assert_eq!(said(Shell::Csh), r#"setenv A 'it'\''s "5\$"'"#);
        assert_eq!(said(Shell::Nu), r#"$env.A = "it's \"5\\$\"""#);
        assert_eq!(said(Shell::Dotenv), r#"A="it's \"5\\\$\"""#);
        assert_eq!(said(Shell::Docker), r#"A=it's "5\$""#);
        assert_eq!(said(Shell::K8s), "- name: A\n  value: \"it's \\\"5\\\\$\\\"\"");
    }
}
