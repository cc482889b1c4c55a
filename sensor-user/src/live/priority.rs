//! How the scheduler ranks the sensor beside what else wants a processor (`live.nice`).

use std::{fs, io};

use rustix::process::{getpid, getpriority_process, getsid, setpriority_process};

/// Of the caller's session, where the kernel groups tasks by session (sched(7), "The autogroup feature").
const GROUP: &str = "/proc/self/autogroup";

#[derive(Debug)]
pub(super) struct Niceness {
    /// In force, -20 to 19.
    pub(super) value: i32,
    /// What could not be had, for people.
    pub(super) missing: Option<String>,
}

/// Makes this process as nice (setpriority(2)) as is asked for, if it is less so; 0 leaves it as it was started. Threads and
/// processes inherit that, so it must be called before there are any.
pub(super) fn yield_to_others(nice: i32) -> Niceness {
    // It cannot fail of the caller itself.
    let own = getpriority_process(None).unwrap_or(0);
    if nice == 0 || nice <= own {
        return Niceness { value: own, missing: None };
    }
    if let Err(error) = setpriority_process(None, nice) {
        let missing = format!("live.nice = {nice}: setpriority: {error}; it stays at {own}");
        return Niceness { value: own, missing: Some(missing) };
    }
    // Each session has its share of the processors then, and a nice value counts within one only. That of a shell is not
    // the sensor's to change.
    let leads = getsid(None) == Ok(getpid());
    let failed = if leads { group(nice).err() } else { None };
    let missing = failed
        .map(|error| format!("live.nice = {nice}: {GROUP}: {error}; it counts within its own session only"));
    Niceness { value: nice, missing }
}

/// Where there is no such grouping there is nothing to do.
fn group(nice: i32) -> io::Result<()> {
    match fs::write(GROUP, nice.to_string()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
