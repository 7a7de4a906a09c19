/* SPDX-License-Identifier: MIT */
/**
 * @file version.h Version numbers, export macro and attributes. The build reads the numbers from here:
 * MOE_API_VERSION_* drives the SONAME, MOE_VERSION_* the project version.
 */
#ifndef MOE_VERSION_H
#define MOE_VERSION_H

#define MOE_VERSION_MAJOR 0 /**< project version: major */
#define MOE_VERSION_MINOR 1 /**< project version: minor */
#define MOE_VERSION_PATCH 0 /**< project version: patch */

/*
 * Version of the binary interface: a change of MAJOR breaks programs, a change of MINOR adds to it; while
 * MAJOR is 0 a change of MINOR may break them too (docs/abi.md).
 */
#define MOE_API_VERSION_MAJOR 0 /**< binary interface: major */
#define MOE_API_VERSION_MINOR 1 /**< binary interface: minor */

/** Project version as one number, comparable: 0x00MMmmpp. */
#define MOE_VERSION ((MOE_VERSION_MAJOR << 16) | (MOE_VERSION_MINOR << 8) | MOE_VERSION_PATCH)

/**
 * @def MOE_API
 * Marks what the library exports. On Windows, define MOE_SHARED to link with the DLL.
 */
/**
 * @def MOE_NODISCARD
 * The result must be looked at.
 */
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
