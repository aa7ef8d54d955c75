/* A thin binding of the C library for Node.js (Node-API 8): open(path), and of a model score(text) and
 * generate(prompt, most, temperature, seed). Texts are Buffers. See main.js. */
#define NAPI_VERSION 8
#include <math.h>
#include <node_api.h>
#include <stdlib.h>

#include "cpu1.h"

#define MOST (1 << 24) /* bytes of a text */

static napi_value throw_error(napi_env env, const char *text) {
    napi_throw_error(env, NULL, text);
    return NULL;
}

static void close_model(napi_env env, void *model, void *hint) {
    (void)env;
    (void)hint;
    cpu1_model_close(model);
}

/* A Buffer as units, to be freed; null where it is none. */
static uint32_t *units_of(napi_env env, napi_value value, int64_t *count) {
    void *bytes;
    size_t size;
    bool is_buffer = false;
    if (napi_is_buffer(env, value, &is_buffer) != napi_ok || !is_buffer) return NULL;
    if (napi_get_buffer_info(env, value, &bytes, &size) != napi_ok || size > MOST) return NULL;
    uint32_t *units = malloc((size + 1) * sizeof *units);
    for (size_t i = 0; units && i < size; i++) units[i] = ((const unsigned char *)bytes)[i];
    *count = (int64_t)size;
    return units;
}

/* A new document of the model that an object stands for. */
static cpu1_session *session_of(napi_env env, napi_value object, cpu1_model **model) {
    cpu1_error error;
    void *wrapped;
    if (napi_get_value_external(env, object, &wrapped) != napi_ok) return throw_error(env, "not a model"), NULL;
    *model = wrapped;
    cpu1_session *session = cpu1_session_new(*model, 1, 1, &error);
    if (!session) throw_error(env, error.text);
    return session;
}

static napi_value open_model(napi_env env, napi_callback_info info) {
    napi_value argument, out;
    size_t count = 1, size;
    char path[4096];
    cpu1_error error;
    napi_get_cb_info(env, info, &count, &argument, NULL, NULL);
    if (count < 1 || napi_get_value_string_utf8(env, argument, path, sizeof path, &size) != napi_ok)
        return throw_error(env, "open wants the path of a model");
    cpu1_model *model = cpu1_model_open(path, NULL, &error);
    if (!model) return throw_error(env, error.text);
    if (!cpu1_model_facts(model).is_bytes) {
        cpu1_model_close(model);
        return throw_error(env, "a model of tokens; this binding is for models of bytes");
    }
    if (napi_create_external(env, model, close_model, NULL, &out) != napi_ok) return NULL;
    return out;
}

/* score(model, text): a Float64Array with the bits of each byte */
static napi_value score(napi_env env, napi_callback_info info) {
    napi_value arguments[2], buffer, out = NULL;
    size_t given = 2;
    int64_t count = 0;
    cpu1_error error;
    cpu1_model *model;
    void *bits;
    napi_get_cb_info(env, info, &given, arguments, NULL, NULL);
    uint32_t *units = given == 2 ? units_of(env, arguments[1], &count) : NULL;
    if (!units) return throw_error(env, "score wants a model and a Buffer of at most 16 MB");
    cpu1_session *session = session_of(env, arguments[0], &model);
    if (session && napi_create_arraybuffer(env, (size_t)count * sizeof(double), &bits, &buffer) == napi_ok) {
        if (cpu1_session_score(session, 0, units, count, bits, &error)) {
            for (int64_t i = 0; i < count; i++) ((double *)bits)[i] /= log(2);
            napi_create_typedarray(env, napi_float64_array, (size_t)count, buffer, 0, &out);
        } else {
            throw_error(env, error.text);
        }
    }
    cpu1_session_close(session);
    free(units);
    return out;
}

/* generate(model, prompt, most, temperature, seed): a Buffer that continues the prompt */
static napi_value generate(napi_env env, napi_callback_info info) {
    napi_value arguments[5], out = NULL;
    size_t given = 5;
    int64_t count = 0, most = 0, seed = 0, made = 0;
    cpu1_sampling how = {.top_p = 1, .may_end = 1};
    cpu1_error error;
    cpu1_model *model;
    napi_get_cb_info(env, info, &given, arguments, NULL, NULL);
    uint32_t *units = given == 5 ? units_of(env, arguments[1], &count) : NULL;
    const int fine = units && napi_get_value_int64(env, arguments[2], &most) == napi_ok && most >= 0 && most <= MOST &&
                     napi_get_value_double(env, arguments[3], &how.temperature) == napi_ok && how.temperature >= 0 &&
                     napi_get_value_int64(env, arguments[4], &seed) == napi_ok && seed >= 0;
    uint32_t *drawn = fine ? malloc(((size_t)most + 1) * sizeof *drawn) : NULL;
    cpu1_session *session = NULL;
    if (!drawn) throw_error(env, "generate wants a model, a Buffer, and three numbers of 0 or more");
    else session = session_of(env, arguments[0], &model);
    if (session) {
        const uint32_t *stream = units;
        cpu1_random random = cpu1_random_seed((uint64_t)seed);
        how.end = cpu1_model_separator(model);
        void *bytes;
        if (!cpu1_session_advance(session, &stream, &count, &error) ||
            !cpu1_session_generate(session, &how, &random, most, drawn, &made, &error))
            throw_error(env, error.text);
        else if (napi_create_buffer(env, (size_t)made, &bytes, &out) == napi_ok)
            for (int64_t i = 0; i < made; i++) ((unsigned char *)bytes)[i] = (unsigned char)drawn[i];
    }
    cpu1_session_close(session);
    free(drawn);
    free(units);
    return out;
}

NAPI_MODULE_INIT() {
    const struct {
        const char *name;
        napi_callback call;
    } functions[] = {{"open", open_model}, {"score", score}, {"generate", generate}};
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        napi_value function;
        napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].call, NULL, &function);
        napi_set_named_property(env, exports, functions[i].name, function);
    }
    return exports;
}
