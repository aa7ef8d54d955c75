/* The program `cpu1` in C: generate, score, compress and decompress with a packed model. It gives the same text, figures
 * and archives as the Python package. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu1.h"
#include "files.h"

#define PIECE 16 /* units drawn before they are printed */
#define PART 4096 /* units read at once */

static const char help[] =
    "usage: cpu1 COMMAND [OPTIONS]\n"
    "\n"
    "  cpu1 generate [PROMPT]       continue a prompt; - reads it from standard input\n"
    "  cpu1 score FILE              bits per byte of a text\n"
    "  cpu1 compress FILE           write FILE.cpu1z, which is shorter and has the same text\n"
    "  cpu1 decompress FILE.cpu1z   write FILE again\n"
    "\n"
    "options of all commands:\n"
    "  -m FILE          packed model (default: the file named by the variable CPU1_MODEL)\n"
    "  --version        print the version\n"
    "options of generate:\n"
    "  --max-bytes N    stop after so many bytes (default: 256)\n"
    "  --temperature T  0 always takes the likeliest (default: 0.8)\n"
    "  --top-k K, --top-p P, --min-p P   as in the Python package (default: 0, 1, 0)\n"
    "  --seed N         seed of the random choices (default: 0)\n"
    "  --echo           print the prompt before the text\n"
    "options of compress and decompress:\n"
    "  -o FILE          file to write, - for standard output; an existing file is refused\n"
    "  --frozen         compress: the model does not learn from the text\n";

typedef struct {
    const char *command, *input, *model, *output;
    cpu1_sampling sampling;
    uint64_t seed;
    int64_t most;
    int echo, frozen;
} options;

static int fail(const char *where, const char *what) {
    fprintf(stderr, "cpu1: %s: %s\n", where, what);
    return 1;
}

static int usage(const char *what, const char *value) {
    fprintf(stderr, "cpu1: %s %s; cpu1 --help lists the commands and options\n", what, value);
    exit(2);
}

static double number(const char *option, const char *text, double most) {
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0 && value <= most)) usage(option, "has a value that is not a number in its range");
    return value;
}

static uint64_t whole(const char *option, const char *text) {
    char *end;
    const unsigned long long value = strtoull(text, &end, 10);
    if (end == text || *end || *text < '0' || *text > '9') usage(option, "wants a whole number");
    return (uint64_t)value;
}

static int64_t count_of(const char *option, const char *text) {
    const uint64_t value = whole(option, text);
    if (value > (uint64_t)1 << 40) usage(option, "has a number that is too large");
    return (int64_t)value;
}

static options read_options(int count, char **words) {
    options out = {.model = getenv("CPU1_MODEL"), .sampling = {.temperature = 0.8, .top_p = 1, .may_end = 1}, .most = 256};
    for (int i = 1; i < count; i++) {
        const char *word = words[i];
        if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
            fputs(help, stdout);
            exit(0);
        }
        if (!strcmp(word, "--version")) {
            printf("cpu1 library %d.%d (%s)\n", cpu1_version() / 1000, cpu1_version() % 1000, cpu1_isas());
            exit(0);
        }
        if (!strcmp(word, "--echo")) out.echo = 1;
        else if (!strcmp(word, "--frozen")) out.frozen = 1;
        else if (word[0] == '-' && word[1]) {
            if (i + 1 == count) usage(word, "is unknown, or wants a value");
            const char *value = words[++i];
            if (!strcmp(word, "-m")) out.model = value;
            else if (!strcmp(word, "-o")) out.output = value;
            else if (!strcmp(word, "--max-bytes")) out.most = count_of(word, value);
            else if (!strcmp(word, "--seed")) out.seed = whole(word, value);
            else if (!strcmp(word, "--top-k")) out.sampling.top_k = count_of(word, value);
            else if (!strcmp(word, "--temperature")) out.sampling.temperature = number(word, value, 1e300);
            else if (!strcmp(word, "--top-p")) out.sampling.top_p = number(word, value, 1);
            else if (!strcmp(word, "--min-p")) out.sampling.min_p = number(word, value, 1);
            else usage("unknown option", word);
        } else if (!out.command) out.command = word;
        else if (!out.input) out.input = word;
        else usage("one argument too many:", word);
    }
    return out;
}

/* The model of bytes that the options name; `isa` as for cpu1_model_open. Ends the program where there is none. */
static cpu1_model *open_model(const options *how, const char *isa) {
    if (!how->model) exit(fail("no model", "name one by -m FILE, or by the variable CPU1_MODEL"));
    cpu1_error error;
    cpu1_model *model = cpu1_model_open(how->model, isa, &error);
    if (!model) exit(fail(how->model, error.text));
    if (!cpu1_model_facts(model).is_bytes) exit(fail(how->model, "a model of tokens; this program runs models of bytes"));
    return model;
}

static void widen(const uint8_t *bytes, int64_t count, uint32_t *units) {
    for (int64_t i = 0; i < count; i++) units[i] = bytes[i];
}

static int generate(const options *how) {
    cpu1_error error;
    cpu1_model *model = open_model(how, NULL);
    cpu1_session *session = cpu1_session_new(model, 1, 1, &error);
    if (!session) return fail(how->model, error.text);
    const char *given = how->input ? how->input : "";
    const int standard = !strcmp(given, "-");
    const block prompt = standard ? read_file("-") : (block){(uint8_t *)given, (int64_t)strlen(given)};
    uint32_t units[PART];
    const uint32_t *stream = units;
    for (int64_t i = 0, count; i < prompt.size; i += count) {
        count = prompt.size - i < PART ? prompt.size - i : PART;
        widen(prompt.bytes + i, count, units);
        if (!cpu1_session_advance(session, &stream, &count, &error)) return fail(how->model, error.text);
    }
    if (how->echo) fwrite(prompt.bytes, 1, (size_t)prompt.size, stdout);
    cpu1_random random = cpu1_random_seed(how->seed);
    cpu1_sampling sampling = how->sampling;
    sampling.end = cpu1_model_separator(model);
    const int64_t vocabulary = cpu1_model_facts(model).vocabulary;
    if (sampling.top_k > vocabulary) sampling.top_k = vocabulary;
    for (int64_t written = 0, made, wanted; written < how->most; written += made) {
        wanted = how->most - written < PIECE ? how->most - written : PIECE;
        if (!cpu1_session_generate(session, &sampling, &random, wanted, units, &made, &error))
            return fail(how->model, error.text);
        for (int64_t i = 0; i < made; i++) putchar((int)units[i]);
        if (fflush(stdout) != 0) return 1;
        if (made < wanted) break;
    }
    putchar('\n');
    if (standard) free(prompt.bytes);
    cpu1_session_close(session);
    cpu1_model_close(model);
    return fflush(stdout) != 0;
}

static int score(const options *how) {
    cpu1_error error;
    const block text = read_file(how->input);
    if (!text.size) return fail(how->input, "empty, nothing to score");
    cpu1_model *model = open_model(how, NULL);
    cpu1_session *session = cpu1_session_new(model, 1, 1, &error);
    if (!session) return fail(how->model, error.text);
    uint32_t units[PART];
    double nats[PART], total = 0;
    for (int64_t i = 0, count; i < text.size; i += count) {
        count = text.size - i < PART ? text.size - i : PART;
        widen(text.bytes + i, count, units);
        if (!cpu1_session_score(session, 0, units, count, nats, &error)) return fail(how->input, error.text);
        for (int64_t k = 0; k < count; k++) total += nats[k];
    }
    printf("%s: %.4f bits per byte, %lld bytes as one document\n", how->input, total / log(2) / (double)text.size,
           (long long)text.size);
    free(text.bytes);
    cpu1_session_close(session);
    cpu1_model_close(model);
    return fflush(stdout) != 0;
}

/* The file to write: as named, or the input with its ending added or taken away. */
static char *output_of(const options *how, int packs) {
    static const char ending[] = ".cpu1z";
    const size_t size = strlen(how->input), end = sizeof ending - 1;
    char *out = malloc(size + end + 1 + (how->output ? strlen(how->output) : 0));
    if (!out) exit(fail(how->input, "not enough memory"));
    const int ends = size > end && !strcmp(how->input + size - end, ending);
    if (how->output) strcpy(out, how->output);
    else if (!strcmp(how->input, "-")) strcpy(out, "-");
    else if (packs) sprintf(out, "%s%s", how->input, ending);
    else if (ends) sprintf(out, "%.*s", (int)(size - end), how->input);
    else exit(fail(how->input, "does not end in .cpu1z: name the file to write by -o FILE"));
    FILE *there = strcmp(out, "-") ? fopen(out, "rb") : NULL;
    if (there) exit(fail(out, "exists already; name another by -o FILE"));
    return out;
}

static int convert(const options *how, int packs) {
    cpu1_error error;
    cpu1_fingerprint fingerprint;
    char *path = output_of(how, packs);
    const block in = read_file(how->input);
    const char *arithmetic = packs ? NULL : cpu1_archive_arithmetic(in.bytes, in.size);
    if (!packs && !arithmetic) return fail(how->input, "not an archive of cpu1 compress");
    const char *isa = arithmetic ? cpu1_isa_of(arithmetic) : NULL;
    if (arithmetic && !isa) return fail(how->input, "made by an arithmetic that this machine does not have");
    cpu1_model *model = open_model(how, isa);
    if (!cpu1_fingerprint_file(how->model, &fingerprint, &error)) return fail(how->model, error.text);
    block out;
    const int done = packs ? cpu1_compress(model, &fingerprint, in.bytes, in.size, !how->frozen, &out.bytes, &out.size, &error)
                           : cpu1_decompress(model, &fingerprint, in.bytes, in.size, &out.bytes, &out.size, &error);
    if (!done) return fail(how->input, error.text);
    const int written = write_file(path, out.bytes, out.size);
    if (written && strcmp(path, "-"))
        printf("%s: %lld bytes, of %lld\n", path, (long long)out.size, (long long)in.size);
    cpu1_free(out.bytes);
    cpu1_model_close(model);
    free(in.bytes);
    free(path);
    return !written;
}

int main(int count, char **words) {
    const options how = read_options(count, words);
    if (!how.command) return usage("name a command:", "generate, score, compress or decompress");
    if (!strcmp(how.command, "generate")) return generate(&how);
    const int packs = !strcmp(how.command, "compress"), unpacks = !strcmp(how.command, "decompress");
    if (!packs && !unpacks && strcmp(how.command, "score")) usage("unknown command", how.command);
    if (!how.input) usage(how.command, "wants a file");
    return packs || unpacks ? convert(&how, packs) : score(&how);
}
