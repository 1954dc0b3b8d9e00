"""Runs a program at a pseudo-terminal, and plays the person in front of it.

    python3 terminal.py '{"command": ["vi"], "columns": 80, "rows": 24}'

Standard input is the script, a JSON object a line; each is answered by one on
standard output, `{"ok": true}` or `{"failure": "why"}`, when it is done:

    {"expect": "text"}      wait until the text is shown, behind the last one;
                            colors and movements of the cursor do not count
    {"send": "keys"}        type
    {"resize": [100, 30]}   make the screen as many columns and rows large
    {"signal": "SIGTERM"}   send the program a signal
    {"drain": true}         wait until the program has read what was typed
    {"reset": true}         set the modes as they were before, as a shell does
    {"hide": true}          wait until the terminal shows no key

A variable of "env" in the task is set for the program.

At the end of the script it waits for the program's end, and prints what was
shown at each size of the screen, the exit code (negative for a signal), whether
the terminal's modes are as they were before, and the keys that nobody has read:

    {"shown": [{"columns": 80, "rows": 24, "text": "..."}],
     "code": 0, "modes": true, "unread": ""}
"""

import codecs
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import uuid

PATIENCE = 15  # seconds for anything to happen

ESCAPES = re.compile("\x1b(?:\\[[0-9;?]*[@-~]|[78])")


# As a person has it; colors too, which must not get in the way.
ENVIRONMENT = {**os.environ, "TERM": "xterm-256color"}
ENVIRONMENT.pop("NO_COLOR", None)


class Failure(Exception):
    pass


class Terminal:
    def __init__(self, command, columns, rows, env):
        self.master, self.slave = pty.openpty()
        self.modes = termios.tcgetattr(self.master)
        self.changed = threading.Condition()
        self.shown = []
        self.has_ended = False
        self.position = 0
        self.resize(columns, rows)
        self.child = subprocess.Popen(
            command,
            env={**ENVIRONMENT, **env},
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        # What is written last is read last: all that was shown comes before it.
        self.end = uuid.uuid4().hex
        for work in (self.read, self.watch):
            threading.Thread(target=work, daemon=True).start()

    def read(self):
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        while not self.has_ended:
            try:
                octets = os.read(self.master, 65536)
            except OSError:
                octets = b""
            with self.changed:
                last = self.shown[-1]
                last["text"] += decoder.decode(octets)
                if not octets or last["text"].endswith(self.end):
                    last["text"] = last["text"].replace(self.end, "")
                    self.has_ended = True
                self.changed.notify_all()

    def watch(self):
        self.code = self.child.wait()
        try:
            os.write(self.slave, self.end.encode())
        except OSError:
            pass  # a system that takes it away along with the program

    def until(self, condition, what):
        with self.changed:
            done = self.changed.wait_for(lambda: condition() or self.has_ended, PATIENCE)
        if not condition():
            why = "in time" if not done else "before the program ended"
            last = self.visible()[self.position :][-500:]
            raise Failure("%s did not come %s: %r" % (what, why, last))

    def visible(self):
        return ESCAPES.sub("", "".join(part["text"] for part in self.shown))

    def expect(self, text):
        def find():
            at = self.visible().find(text, self.position)
            return -1 if at == -1 else at + len(text)

        self.until(lambda: find() != -1, repr(text))
        self.position = find()

    def send(self, keys):
        os.write(self.master, keys.encode())

    def resize(self, columns, rows):
        with self.changed:
            self.shown.append({"columns": columns, "rows": rows, "text": ""})
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def signal(self, name):
        self.child.send_signal(getattr(signal, name))

    def drain(self, _):
        self.poll(lambda: not self.is_readable(), "a reader")

    def reset(self, _):
        termios.tcsetattr(self.slave, termios.TCSANOW, self.modes)

    def hide(self, _):
        self.poll(lambda: not termios.tcgetattr(self.slave)[3] & termios.ECHO, "a hidden key")

    def is_readable(self):
        # This, unlike FIONREAD, waits for what was typed to reach the other end.
        return bool(select.select([self.slave], [], [], 0)[0])

    def poll(self, condition, what):
        until = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > until or self.child.poll() is not None:
                raise Failure("%s did not come: %r" % (what, self.visible()[-500:]))
            time.sleep(0.005)

    def unread(self):
        """What whoever reads next would get; lines without an end too."""
        modes = termios.tcgetattr(self.slave)
        modes[3] &= ~(termios.ICANON | termios.ECHO)
        termios.tcsetattr(self.slave, termios.TCSANOW, modes)
        octets = os.read(self.slave, 65536) if self.is_readable() else b""
        return octets.decode(errors="replace")

    def close(self):
        try:
            self.until(lambda: self.has_ended, "the end")
        except Failure:
            self.child.kill()
            raise
        self.child.wait()
        modes = termios.tcgetattr(self.master) == self.modes
        return {
            "shown": self.shown,
            "code": self.child.returncode,
            "modes": modes,
            "unread": self.unread(),
        }


def say(answer):
    print(json.dumps(answer), flush=True)


def main(task):
    terminal = Terminal(**json.loads(task))
    try:
        for line in sys.stdin:
            for step, value in json.loads(line).items():
                values = value if isinstance(value, list) else [value]
                getattr(terminal, step)(*values)
            say({"ok": True})
        say(terminal.close())
    except Failure as failure:
        terminal.child.kill()
        say({"failure": str(failure)})


if __name__ == "__main__":
    main(*sys.argv[1:])
