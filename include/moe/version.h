/* SPDX-License-Identifier: MIT */
/**
 * @file version.h
 * Version numbers, export macro and attributes. The build reads the numbers from here: MOE_API_VERSION_* drives the
 * SONAME, MOE_VERSION_* the project version.
 */
#ifndef MOE_VERSION_H
#define MOE_VERSION_H

#define MOE_VERSION_MAJOR 0
#define MOE_VERSION_MINOR 1
#define MOE_VERSION_PATCH 0

/** Version of the binary interface: a change of MAJOR breaks programs, a change of MINOR adds to it. */
#define MOE_API_VERSION_MAJOR 0
#define MOE_API_VERSION_MINOR 1

/** Project version as one number, comparable: 0x00MMmmpp. */
#define MOE_VERSION ((MOE_VERSION_MAJOR << 16) | (MOE_VERSION_MINOR << 8) | MOE_VERSION_PATCH)

#if defined(_WIN32) && defined(MOE_SHARED)
#  if defined(MOE_BUILDING)
#    define MOE_API __declspec(dllexport)
#  else
#    define MOE_API __declspec(dllimport)
#  endif
#elif defined(__GNUC__)
#  define MOE_API __attribute__((visibility("default")))
#else
#  define MOE_API
#endif

#if defined(__GNUC__)
#  define MOE_NODISCARD __attribute__((warn_unused_result))
#else
#  define MOE_NODISCARD
#endif

#endif
