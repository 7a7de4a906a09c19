/* SPDX-License-Identifier: MIT */
/* The width of the console; see ../posix.h. */
#ifndef TOOL_WINDOWS_IOCTL_H
#define TOOL_WINDOWS_IOCTL_H

#define TIOCGWINSZ 1
struct winsize {
    int ws_col;
};
int ioctl(int fd, int request, struct winsize *out);

#endif
