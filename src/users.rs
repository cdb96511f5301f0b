//! Names of this machine's users.

/// The user's name, or the id if it has none.
pub(crate) fn name(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_in(&users, uid).map_or_else(|| format!("uid {uid}"), str::to_owned)
}

/// A user's name in a file like `/etc/passwd` (passwd(5)).
fn name_in(users: &str, uid: u32) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, found) = (fields.next()?, fields.next()?, fields.next()?);
        (found.parse() == Ok(uid) && !name.is_empty()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_passwd_file() {
        let users = "root:x:0:0:root:/root:/bin/sh\nodd\n:x:7:\nagent:x:1000:1000::/home/agent:/bin/sh\n";
        assert_eq!((name_in(users, 0), name_in(users, 1000)), (Some("root"), Some("agent")));
        assert_eq!((name_in(users, 7), name_in(users, 1), name_in("", 1)), (None, None, None));
    }
}
