// SPDX-License-Identifier: MIT
// C++ in a few lines: unique_ptr releases, a status becomes an exception. 13_cpp MODEL
#include <moe/moe.h>
#include <cstdio>
#include <memory>
#include <stdexcept>

static void check(int status) { if (status < 0) throw std::runtime_error(moe_last_error()); }

int main(int argc, char **argv) try {
    moe_model *m = nullptr;
    moe_session *s = nullptr;
    check(moe_model_open(&m, argc > 1 ? argv[1] : "", nullptr));
    std::unique_ptr<moe_model, decltype(&moe_model_release)> model(m, moe_model_release);
    check(moe_session_create(&s, m, nullptr));
    std::unique_ptr<moe_session, decltype(&moe_session_free)> session(s, moe_session_free);
    moe_token id = 5, best = 0;
    float logprob = 0;
    check(moe_session_eval(s, &id, 1));
    check(moe_session_logprobs(s, 0, 1, &best, &logprob));
    std::printf("after token %d most likely comes %d (%.3f)\n", id, best, static_cast<double>(logprob));
} catch (const std::exception &e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
}
