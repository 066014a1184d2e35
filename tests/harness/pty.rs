//! The binary on a pseudo-terminal of its own, as someone at a terminal runs it.

use std::{
    fs::File,
    io::{Read, Write},
    num::NonZero,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use rustix::{
    fs::OFlags,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use crate::{binary::pinfire, watchdog::watch};

/// A call on a terminal.
pub struct OnTerminal {
    child: Child,
    master: File,
    /// Kept open, so that the terminal outlives the call.
    slave: File,
    screen: Arc<Mutex<vt100::Parser>>,
    reader: JoinHandle<Vec<u8>>,
}

/// How it left the terminal.
pub struct Left {
    /// The exit code.
    pub code: Option<i32>,
    /// Everything on the screen and above it.
    pub text: String,
    /// Everything that was written, as it was written.
    pub written: String,
    /// It is the other screen, not the one of the shell.
    pub other_screen: bool,
    /// The cursor is hidden.
    pub no_cursor: bool,
    /// What is typed is shown, and line by line.
    pub echoes: bool,
}

/// Starts the binary with these arguments in `folder`, on a terminal of this size.
pub fn on_terminal(arguments: &[&str], folder: &Path, size: (u16, u16)) -> OnTerminal {
    on_terminal_with(&[], arguments, folder, size)
}

/// The same with more in its environment.
pub fn on_terminal_with(
    environment: &[(&str, &str)],
    arguments: &[&str],
    folder: &Path,
    (rows, columns): (u16, u16),
) -> OnTerminal {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
    grantpt(&master).expect("it is ours");
    unlockpt(&master).expect("it is unlocked");
    let name = ptsname(&master, Vec::new()).expect("it has a name");
    let slave = File::options()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NOCTTY.bits() as i32)
        .open(name.to_str().expect("a name"))
        .expect("its other end");
    let master = File::from(master);
    resize(&master, rows, columns);
    let end = || Stdio::from(slave.try_clone().expect("another descriptor"));
    // It becomes the controlling terminal, so that Ctrl-C is a signal.
    let child = Command::new("setsid")
        .args(["--ctty", "--wait"])
        .arg(pinfire())
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HF_HUB_OFFLINE", "1")
        .env("TERM", "xterm-256color")
        .envs(environment.iter().copied())
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .expect("setsid, of util-linux, starts");
    let parser = vt100::Parser::new(cells(rows), cells(columns), 1_000);
    let screen = Arc::new(Mutex::new(parser));
    let shown = Arc::clone(&screen);
    let mut from = master.try_clone().expect("another descriptor");
    let reader = std::thread::spawn(move || {
        let mut bytes = [0; 8192];
        let mut written = Vec::new();
        while let Ok(count) = from.read(&mut bytes) {
            if count == 0 {
                break;
            }
            let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes = bytes.get(..count).unwrap_or_default();
            shown.process(bytes);
            written.extend_from_slice(bytes);
        }
        written
    });
    OnTerminal {
        child,
        master,
        slave,
        screen,
        reader,
    }
}

fn cells(number: u16) -> NonZero<u16> {
    NonZero::new(number).expect("a terminal has cells")
}

fn resize(terminal: &File, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).expect("a size");
}

impl OnTerminal {
    fn see<T>(&self, look: impl FnOnce(&vt100::Screen) -> T) -> T {
        let shown = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        look(shown.screen())
    }

    /// Waits until the screen shows what is looked for, and gives its text.
    #[track_caller]
    pub fn until(&self, what: &str, shows: impl Fn(&vt100::Screen) -> bool) -> String {
        let _guard = watch("the terminal never shows it");
        for _ in 0..3_000 {
            if let Some(text) = self.see(|screen| shows(screen).then(|| screen.contents())) {
                return text;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{what}: {}", self.see(|screen| screen.contents()));
    }

    /// Makes it another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        let mut shown = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        shown.screen_mut().set_size(cells(rows), cells(columns));
        drop(shown);
        resize(&self.master, rows, columns);
    }

    /// Types.
    pub fn key(&mut self, bytes: &[u8]) {
        self.master.write_all(bytes).expect("keys are taken");
    }

    /// Whether what is typed is shown, and line by line, as a shell has it.
    pub fn echoes(&self) -> bool {
        let modes = tcgetattr(&self.slave).expect("its modes").local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }

    /// Waits for the end.
    pub fn wait(mut self) -> Left {
        let _guard = watch("pinfire does not end on its terminal");
        let status = self.child.wait().expect("a child to wait for");
        let echoes = self.echoes();
        drop(self.slave);
        // With the last descriptor of the other end the reader has all.
        let written = self.reader.join().unwrap_or_default();
        let mut shown = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        shown.screen_mut().set_scrollback(usize::MAX);
        let above = shown.screen().contents();
        shown.screen_mut().set_scrollback(0);
        let screen = shown.screen();
        Left {
            code: status.code(),
            text: format!("{above}\n{}", screen.contents()),
            written: String::from_utf8_lossy(&written).into_owned(),
            other_screen: screen.alternate_screen(),
            no_cursor: screen.hide_cursor(),
            echoes,
        }
    }
}
