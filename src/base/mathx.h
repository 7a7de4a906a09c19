/* SPDX-License-Identifier: MIT */
/*
 * exp, log, pow, sin and cos in double precision from IEEE basic operations only, so that every CPU and C
 * library gives the same bits (libm picks variants by CPU). For tables and samplers, not for inner loops;
 * errors stay below 2e-15 relative (absolute for sin and cos), over the ranges stated.
 */
#ifndef MOE_BASE_MATHX_H
#define MOE_BASE_MATHX_H

double moe__math_exp(double x);                            /* 0 below -745, infinity above 709.78 */
double moe__math_log(double x);                            /* x > 0; -infinity for 0, NaN below */
double moe__math_pow(double x, double y);                  /* x > 0; error grows with |y log x| */
void moe__math_sincos(double x, double *sin, double *cos); /* |x| <= 1e9 */

#endif
