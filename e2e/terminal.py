"""Runs a command on a terminal, types a line when the terminal no longer shows what is typed, and prints what it showed."""
import os, pty, select, sys, termios

line, command = sys.argv[1], sys.argv[2:]
child, terminal = pty.fork()
if child == 0:
    os.execv(command[0], command)
shown, typed = b"", False
try:
    while True:
        if not typed and not termios.tcgetattr(terminal)[3] & termios.ECHO:
            os.write(terminal, line.encode() + b"\n")
            typed = True
        if select.select([terminal], [], [], 0.01)[0]:
            chunk = os.read(terminal, 4096)
            if not chunk:
                break
            shown += chunk
except (OSError, termios.error):  # the command has ended
    pass
sys.stdout.write(shown.decode().replace("\r\n", "\n"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
