#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_imports.py LIBRARY: the library must not even import what it promises not to do: end the process,
print, read the environment, change process-wide state, parse numbers by locale, allocate behind the caller's
allocator."""
import subprocess
import sys

DENIED = {
    "ends the process": "abort exit _exit _Exit quick_exit __assert_fail __assert raise kill",
    "prints": "printf vprintf puts putchar fputs fputc putc perror fprintf vfprintf dprintf __printf_chk "
              "__vprintf_chk __fprintf_chk __vfprintf_chk stdout stderr",
    "reads": "scanf getchar gets stdin",
    "looks at or changes the environment": "getenv secure_getenv setenv unsetenv putenv environ __environ",
    "changes process-wide state": "setlocale signal sigaction bsd_signal atexit at_quick_exit srand "
                                  "rand random srandom umask chdir setrlimit alarm "
                                  "omp_set_num_threads omp_set_dynamic omp_set_nested",
    "starts programs": "system popen fork vfork execve execvp execv execl posix_spawn posix_spawnp",
    "depends on the locale": "strtod strtof strtold atof sscanf vsscanf __isoc99_sscanf toupper tolower "
                             "isalpha isspace __ctype_b_loc __ctype_toupper_loc __ctype_tolower_loc strcoll",
    "is not thread-safe": "strerror strtok localtime gmtime ctime asctime",
    "allocates without the hook": "malloc calloc realloc reallocarray strdup strndup posix_memalign memalign "
                                 "asprintf vasprintf",
}


def main():
    command = ["nm", "-D", "--undefined-only", sys.argv[1]]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    imported = {line.split()[-1].split("@")[0] for line in out.splitlines()}
    faults = [f"{name}: {why}" for why, names in DENIED.items() for name in names.split() if name in imported]
    print("\n".join(faults) if faults else f"{len(imported)} imports, none of them denied")
    return 1 if faults or not imported else 0


if __name__ == "__main__":
    sys.exit(main())
