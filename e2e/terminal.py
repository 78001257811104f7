"""Runs a command on a terminal, types a line when the terminal no longer shows what is typed, and prints what it showed."""
import os, pty, sys, termios, time

line, command = sys.argv[1], sys.argv[2:]
child, terminal = pty.fork()
if child == 0:
    os.execv(command[0], command)
while termios.tcgetattr(terminal)[3] & termios.ECHO:
    time.sleep(0.01)
os.write(terminal, line.encode() + b"\n")
shown = b""
try:
    while chunk := os.read(terminal, 4096):
        shown += chunk
except OSError:  # the command has ended
    pass
sys.stdout.write(shown.decode().replace("\r\n", "\n"))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
