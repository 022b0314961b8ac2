//! Conversations with hosts made of chunks: when a password goes out, when input does, and what a refusal is taken for.

use std::collections::VecDeque;

use super::*;

/// A command whose output comes in these chunks; `Heard` waits until so many bytes of input have come.
#[derive(Default)]
struct Scripted {
    steps: VecDeque<Step>,
    stdin: Vec<u8>,
    closed: bool,
    status: i32,
}

enum Step {
    Out(&'static str),
    Err(&'static str),
    Heard(usize),
    Silence,
}

impl Streams for Scripted {
    fn read_stdout(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(Step::Out(text)) = self.steps.front() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        buffer[..text.len()].copy_from_slice(text.as_bytes());
        let count = text.len();
        self.steps.pop_front();
        Ok(count)
    }

    fn read_stderr(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(Step::Err(text)) = self.steps.front() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        buffer[..text.len()].copy_from_slice(text.as_bytes());
        let count = text.len();
        self.steps.pop_front();
        Ok(count)
    }

    fn write_stdin(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // one byte at a time: nothing may depend on how writes are cut
        self.stdin.push(bytes[0]);
        Ok(1)
    }

    fn close_stdin(&mut self) -> io::Result<()> {
        self.closed = true;
        Ok(())
    }

    fn ended(&mut self) -> bool {
        if matches!(self.steps.front(), Some(Step::Heard(count)) if self.stdin.len() >= *count) {
            self.steps.pop_front();
        }
        self.steps.is_empty()
    }

    fn wait(&mut self, _writing: bool, at_most: Duration) -> io::Result<()> {
        if matches!(self.steps.front(), Some(Step::Silence)) {
            std::thread::sleep(FOREIGN_PROMPT_AFTER + Duration::from_millis(50));
            self.steps.pop_front();
        } else {
            std::thread::sleep(at_most.min(Duration::from_millis(5)));
        }
        Ok(())
    }

    fn status(&mut self, _at_most: Duration) -> io::Result<i32> {
        Ok(self.status)
    }

    fn abandon(&mut self) {}
}

/// Holds a conversation under sudo; returns its result and what the command was given.
fn sudo(steps: Vec<Step>, status: i32, password: Option<&str>) -> (Result<Output, Broken>, String) {
    let mut streams = Scripted {
        steps: steps.into(),
        status,
        ..Scripted::default()
    };
    let password = password.map(SecretString::from);
    let mut stdin = b"data".as_slice();
    let input = Input {
        password: password.as_ref(),
        stdin: &mut stdin,
        gate: None,
        limit: Duration::from_secs(20),
        sudo: true,
    };
    let result = converse(&mut streams, input);
    (result, String::from_utf8(streams.stdin).unwrap())
}

fn refusal(steps: Vec<Step>, status: i32, password: Option<&str>) -> SudoFailure {
    match sudo(steps, status, password).0 {
        Err(Broken::Sudo(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_password_goes_out_on_the_prompt_and_the_input_after_the_start() {
    let (result, given) = sudo(
        vec![
            Step::Out("motd\n"),
            Step::Err("lecture:\nairgap-pass"),
            Step::Err("word:"),
            Step::Heard(3),
            Step::Err("\n"),
            Step::Out("airgap-st"),
            Step::Out("arted\nout"),
            Step::Heard(7),
        ],
        0,
        Some("pw"),
    );
    let output = result.unwrap();
    assert_eq!(
        (
            output.text().as_str(),
            output.error_text().as_str(),
            given.as_str()
        ),
        ("out", "", "pw\ndata")
    );
}

#[test]
fn a_password_that_is_not_asked_for_stays_here() {
    let (result, given) = sudo(
        vec![
            Step::Out("airgap-started\n"),
            Step::Err("airgap-password:"),
            Step::Heard(4),
        ],
        0,
        Some("pw"),
    );
    assert_eq!(given, "data");
    assert_eq!(
        result.unwrap().error_text(),
        "airgap-password:",
        "after the start it is only text"
    );
}

#[test]
fn a_warning_of_sudo_is_no_prompt_and_a_foreign_prompt_is_one_after_a_while() {
    let warning = vec![
        Step::Err("sudo: "),
        Step::Silence,
        Step::Err("unable to resolve host x\n"),
        Step::Out("airgap-started\n"),
        Step::Heard(4),
    ];
    assert_eq!(sudo(warning, 0, Some("pw")).1, "data");
    let foreign = vec![
        Step::Err("LDAP Password: "),
        Step::Silence,
        Step::Heard(3),
        Step::Out("airgap-started\n"),
        Step::Heard(7),
    ];
    assert_eq!(sudo(foreign, 0, Some("pw")).1, "pw\ndata");
}

#[test]
fn refusals_are_told_apart() {
    let prompt = || Step::Err("airgap-password:");
    assert_eq!(
        refusal(vec![prompt()], 1, None),
        SudoFailure::PasswordNeeded
    );
    assert_eq!(
        refusal(
            vec![
                prompt(),
                Step::Heard(3),
                Step::Err("\nSorry, try again.\nairgap-password:")
            ],
            1,
            Some("pw")
        ),
        SudoFailure::WrongPassword
    );
    assert_eq!(
        refusal(
            vec![
                prompt(),
                Step::Heard(3),
                Step::Err("sudo: 1 incorrect password attempt\n")
            ],
            1,
            Some("pw")
        ),
        SudoFailure::WrongPassword
    );
    for (text, status, reason) in [
        (
            "sudo: a password is required\n",
            1,
            SudoFailure::PasswordNeeded,
        ),
        (
            "ops is not in the sudoers file.\n",
            1,
            SudoFailure::NotAllowed,
        ),
        (
            "Sorry, user ops is not allowed to execute '/bin/sh' as root on n1.\n",
            1,
            SudoFailure::NotAllowed,
        ),
        (
            "sudo: sorry, you must have a tty to run sudo\n",
            1,
            SudoFailure::NeedsTerminal,
        ),
        (
            "env: 'sudo': No such file or directory\n",
            127,
            SudoFailure::Missing,
        ),
        ("", 127, SudoFailure::Missing),
    ] {
        assert_eq!(
            refusal(vec![Step::Err(text)], status, Some("pw")),
            reason,
            "{text}"
        );
    }
}

#[test]
fn a_shell_that_does_not_start_the_command_is_not_its_failure() {
    let mut streams = Scripted {
        steps: vec![Step::Err("This account is currently not available.\n")].into(),
        status: 1,
        ..Scripted::default()
    };
    let input = Input {
        password: None,
        stdin: &mut io::empty(),
        gate: None,
        limit: Duration::from_secs(5),
        sudo: false,
    };
    assert!(matches!(
        converse(&mut streams, input),
        Err(Broken::NotStarted { status: 1, .. })
    ));
}

#[test]
fn input_is_held_back_until_the_gate_opens() {
    let run = |steps: Vec<Step>| {
        let mut streams = Scripted {
            steps: steps.into(),
            ..Scripted::default()
        };
        let input = Input {
            password: None,
            stdin: &mut b"data".as_slice(),
            gate: Some("send"),
            limit: Duration::from_secs(5),
            sudo: false,
        };
        converse(&mut streams, input).unwrap();
        (String::from_utf8(streams.stdin).unwrap(), streams.closed)
    };
    assert_eq!(
        run(vec![
            Step::Out("airgap-started\nse"),
            Step::Out("nd\n"),
            Step::Heard(4)
        ]),
        ("data".to_owned(), true)
    );
    assert_eq!(run(vec![Step::Out("airgap-started\nsame\n")]).0, "");
    assert_eq!(run(vec![Step::Out("airgap-started\nsender\n")]).0, "");
}

#[test]
fn a_command_without_end_is_given_up_in_time() {
    let mut streams = Scripted {
        steps: vec![Step::Heard(usize::MAX)].into(),
        ..Scripted::default()
    };
    let input = Input {
        password: None,
        stdin: &mut io::empty(),
        gate: None,
        limit: Duration::from_millis(50),
        sudo: false,
    };
    assert!(matches!(
        converse(&mut streams, input),
        Err(Broken::TimedOut)
    ));
}
