//! Becoming a user of one's own, for a signer that root starts. Names are looked up in /etc/passwd and /etc/group alone.

use crate::error::{ConfigError, StartError};
use rustix::fs::{Gid, Uid};

/// A user of this machine.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    uid: u32,
    gid: u32,
    /// All groups, among them `gid`.
    groups: Vec<u32>,
}

/// Becomes the user with this name for good: user, group and the groups that it is in. A process that is that user
/// already stays it. To be called before any thread is started.
pub(super) fn become_user(name: &str) -> Result<(), StartError> {
    let fail = |reason: &dyn std::fmt::Display| ConfigError::UserUnusable.about(format_args!("user {name} ({reason})"));
    let read = |path: &str| std::fs::read_to_string(path).map_err(|error| fail(&format_args!("{path}: {error}")));
    let account = find(name, &read("/etc/passwd")?, &read("/etc/group")?).ok_or_else(|| fail(&"not in /etc/passwd"))?;
    let uid = Uid::from_raw(account.uid);
    if rustix::process::geteuid() == uid {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        return Err(fail(&"only root can become another user"));
    }
    if uid.is_root() {
        return Err(fail(&"it is root"));
    }
    let groups: Vec<Gid> = account.groups.into_iter().map(Gid::from_raw).collect();
    let gid = Gid::from_raw(account.gid);
    rustix::thread::set_thread_groups(&groups)
        .and_then(|()| rustix::thread::set_thread_res_gid(gid, gid, gid))
        .and_then(|()| rustix::thread::set_thread_res_uid(uid, uid, uid))
        .map_err(|error| fail(&error))
}

fn find(name: &str, passwd: &str, group: &str) -> Option<Account> {
    let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|entry| entry[0] == name)?;
    let (uid, gid) = (entry.get(2)?.parse().ok()?, entry.get(3)?.parse().ok()?);
    let mut groups = vec![gid];
    for line in group.lines() {
        if let [_, _, id, members] = line.split(':').collect::<Vec<_>>()[..]
            && members.split(',').any(|member| member == name)
            && let Ok(id) = id.parse()
            && !groups.contains(&id)
        {
            groups.push(id);
        }
    }
    Some(Account { uid, gid, groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_with_its_groups_and_nothing_else_is() {
        let passwd = "root:x:0:0::/root:/bin/sh\nsigner:x:990:980::/:/usr/sbin/nologin\nbroken:x:a:b\n\nshort\n";
        let group = "root:x:0:\ntss:x:120:other,signer\nsigner:x:980:signer\nsigners:x:7:signers\nbroken\n";
        let account = Account { uid: 990, gid: 980, groups: vec![980, 120] };
        assert_eq!(find("signer", passwd, group), Some(account));
        for nobody in ["sign", "broken", "short", "", "nobody"] {
            assert_eq!(find(nobody, passwd, group), None, "{nobody}");
        }
    }
}
