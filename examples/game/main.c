/* SPDX-License-Identifier: MIT */
/*
 * The game: a loop of 60 frames a second that never waits for the model (README.md).
 *
 * Each frame takes the keys (or the script), lets 1/60 s go by in the scene, gives speech its slice where
 * there is no worker, draws, and sleeps until the next one is due. The time of the work and the distance from
 * frame to frame are measured, apart for frames in which speech was worked on.
 */
#define SDL_MAIN_HANDLED /* main() is ours on every system */
#include "background.h"
#include "options.h"
#include "view.h"
#include <stdio.h>
#include <string.h>

#define FRAMES_PER_SECOND 60
#define LEAD              40 /* bytes that a speaker is ahead of the reader: four to eight words */

typedef struct game {
    options o;
    SDL_Window *window;
    SDL_Renderer *renderer;
    view view;
    scene scene;
    speech *speech;
    meter meter;
    int quit;
} game;

static int sdl_failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, SDL_GetError());
    return -1;
}

static int open_window(game *g)
{
    uint32_t flags = g->o.headless ? SDL_RENDERER_SOFTWARE : 0; /* no vsync: the loop keeps time itself */
    if (g->o.headless) SDL_SetHint(SDL_HINT_VIDEODRIVER, "dummy");
    SDL_SetHint(SDL_HINT_RENDER_SCALE_QUALITY, "nearest");
    SDL_SetMainReady();
    if (SDL_Init(SDL_INIT_VIDEO) != 0) return sdl_failed("SDL");
    g->window =
        SDL_CreateWindow("libmoe: voices on the market place", SDL_WINDOWPOS_CENTERED, SDL_WINDOWPOS_CENTERED,
                         VIEW_WIDTH * g->o.zoom, VIEW_HEIGHT * g->o.zoom, SDL_WINDOW_RESIZABLE);
    if (!g->window) return sdl_failed("window");
    g->renderer = SDL_CreateRenderer(g->window, -1, flags);
    if (!g->renderer) return sdl_failed("renderer");
    if (SDL_RenderSetLogicalSize(g->renderer, VIEW_WIDTH, VIEW_HEIGHT) != 0) return sdl_failed("renderer");
    return view_create(&g->view, g->renderer) == 0 ? 0 : sdl_failed("pictures");
}

static int open_speech(game *g)
{
    char error[512];
    speech_options so = {g->o.model, g->o.budget, (uint64_t)(g->o.slice_ms * 1e6), g->o.pace > 0 ? LEAD : 0};
    g->speech = speech_create(&so, error, sizeof error);
    if (!g->speech) fprintf(stderr, "%s\n", error);
    return g->speech ? 0 : -1;
}

static double mib(uint64_t bytes) { return (double)bytes / 1048576.0; }

static double rate(const speech_stats *st)
{
    return st->ns_eval ? (double)st->tokens * 1e9 / (double)st->ns_eval : 0;
}

static void report(game *g)
{
    speech_stats st;
    speech_get_stats(g->speech, &st);
    if (g->o.slice_ms > 0)
        printf("mode: slices of %.1f ms on the main thread\n", g->o.slice_ms);
    else
        printf("mode: one worker thread\n");
    meter_print(&g->meter, stdout);
    printf("speech: ready after %.0f ms; %llu tokens, %.0f per second of evaluation; %llu utterances, "
           "%llu of them interrupted\n",
           (double)st.ns_ready / 1e6, (unsigned long long)st.tokens, rate(&st),
           (unsigned long long)st.utterances, (unsigned long long)st.interrupts);
    printf("longest: %s %.2f ms\n", g->o.slice_ms > 0 ? "slice" : "from an interrupt to the worker's answer",
           (double)st.ns_longest / 1e6);
    printf("memory: planned %.2f MiB for %d sessions (mapped weights %.2f), taken %.2f MiB\n",
           mib(st.plan.total), st.plan.n_sessions, mib(st.plan.mapped), mib(st.plan.mapped + st.bytes_most));
    fflush(stdout);
}

static void take_events(game *g)
{
    SDL_Event e;
    while (SDL_PollEvent(&e)) {
        if (e.type == SDL_QUIT) g->quit = 1;
        if (e.type != SDL_KEYDOWN || e.key.repeat) continue;
        if (e.key.keysym.sym == SDLK_ESCAPE) g->quit = 1;
        if (e.key.keysym.sym == SDLK_f) report(g);
    }
}

/* The direction that the keys ask for. */
static void read_keys(double *dx, double *dy)
{
    const uint8_t *down = SDL_GetKeyboardState(NULL);
    *dx = (down[SDL_SCANCODE_RIGHT] || down[SDL_SCANCODE_D]) -
          (down[SDL_SCANCODE_LEFT] || down[SDL_SCANCODE_A]);
    *dy = (down[SDL_SCANCODE_DOWN] || down[SDL_SCANCODE_S]) - (down[SDL_SCANCODE_UP] || down[SDL_SCANCODE_W]);
}

/* The line below the scene; the percentiles are renewed once a second, sorting them takes a while. */
static void figures(game *g, char *text, size_t cap)
{
    speech_stats st;
    meter_figures m[2];
    if (g->meter.n % FRAMES_PER_SECOND != 1) return;
    if (meter_figure(&g->meter, 0, 0, &m[0]) != 0 || meter_figure(&g->meter, 1, 0, &m[1]) != 0) return;
    speech_get_stats(g->speech, &st);
    snprintf(text, cap, "%s   frame %.1f ms quiet, %.1f speaking   %llu tokens, %.0f/s   %.1f of %.0f MiB",
             g->o.slice_ms > 0 ? "slices" : "worker", (double)m[0].median, (double)m[1].median,
             (unsigned long long)st.tokens, rate(&st), mib(st.plan.mapped + st.bytes_most),
             g->o.budget ? mib(g->o.budget) : mib(st.plan.total));
}

/* One frame; 1 if speech was worked on in it. */
static int frame(game *g, const char *line)
{
    const double dt = 1.0 / FRAMES_PER_SECOND;
    double dx, dy;
    int generating;
    take_events(g);
    if (g->o.script)
        scene_script(&g->scene, dt, &dx, &dy);
    else
        read_keys(&dx, &dy);
    scene_update(&g->scene, g->speech, dt, dx, dy);
    generating = speech_frame(g->speech);
    view_draw(&g->view, &g->scene, &g->meter, line, speech_error(g->speech));
    return generating;
}

static int run(game *g)
{
    const double per_ms = (double)SDL_GetPerformanceFrequency() / 1000.0;
    const uint64_t step = SDL_GetPerformanceFrequency() / FRAMES_PER_SECOND;
    uint64_t due = SDL_GetPerformanceCounter(), last = due - step;
    char line[160] = "";
    for (long n = 0; !g->quit && (g->o.frames == 0 || n < g->o.frames); n++) {
        uint64_t start = SDL_GetPerformanceCounter(), end;
        int generating = frame(g, line);
        end = SDL_GetPerformanceCounter();
        if (meter_add(&g->meter, (float)((double)(end - start) / per_ms),
                      (float)((double)(start - last) / per_ms), generating) != 0) {
            fprintf(stderr, "no memory for frame times\n");
            return -1;
        }
        figures(g, line, sizeof line);
        last = start;
        due += step;
        end = SDL_GetPerformanceCounter();
        if (end < due)
            SDL_Delay((uint32_t)((double)(due - end) / per_ms + 0.5));
        else if (end - due > 4 * step) /* far behind (the machine slept): do not hurry to make up for it */
            due = end;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static game g; /* zero */
    int bad = options_read(&g.o, argc, argv);
    if (bad != 0) return 2;
    if (g.o.help) {
        options_usage(argv[0]);
        return 0;
    }
    g.o.script |= g.o.headless;
    scene_init(&g.scene, g.o.pace, g.o.headless ? stdout : NULL);
    bad = open_speech(&g) != 0 || open_window(&g) != 0 || run(&g) != 0;
    if (!bad) {
        scene_finish(&g.scene);
        report(&g);
        if (g.o.screenshot && view_save(&g.view, g.o.screenshot) != 0) bad = sdl_failed(g.o.screenshot) != 0;
        if (speech_error(g.speech)) {
            fprintf(stderr, "speech ended: %s\n", speech_error(g.speech));
            bad = 1;
        }
    }
    view_free(&g.view);
    if (g.renderer) SDL_DestroyRenderer(g.renderer);
    if (g.window) SDL_DestroyWindow(g.window);
    speech_free(g.speech);
    meter_free(&g.meter);
    SDL_Quit();
    return bad ? 1 : 0;
}
