/*
 * Answers requests to a SavedModel without Python, through TF_LoadSessionFromSavedModel: the loader
 * that TF Serving itself is built on. Whatever fails in it fails in a server.
 *
 *     saved_model_process DIR TEXT...          asks `serving_default`, which takes one batch of texts
 *     saved_model_process DIR --callers COUNT  answers requests from standard input, COUNT at a time
 *
 * DIR is one version folder. What is printed are lines of JSON. The first tells how long loading
 * took; then comes a line for each request, in the order of completion, numbered in that of arrival:
 *
 *     {"loaded": 0.71}
 *     {"number": 0, "start": 5.2, "seconds": [0.01],
 *      "outputs": {"label": {"dtype": "object", "shape": [1], "values": ["good"]}}}
 *     {"number": 1, "code": 3, "error": "the signature tokens has no input text"}
 *
 * `start` and `seconds` are what a monotonic clock says, `code` is one of tf_status.h; bytes of
 * strings are printed as they are, if JSON lets them. A request on standard input is two unsigned
 * 32-bit numbers, how often to run it and how many bytes follow, and then a PredictRequest as TF
 * Serving's predict.proto defines it. What is run several times is timed: its one answer has the
 * seconds of all calls, and no outputs.
 *
 * The environment variable TFHF_OP_LIBRARIES names the shared libraries with the ops that TensorFlow
 * lacks, separated by colons: those that tfhf.serving.op_libraries(DIR) lists.
 *
 * To build it against the libraries of the pip wheel, TF being the folder of the tensorflow package:
 *     gcc -std=c11 -O1 -pthread saved_model_process.c -o saved_model_process -I$TF/include -L$TF \
 *         -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2 -Wl,-rpath,$TF
 */
#define _POSIX_C_SOURCE 200809L /* open_memstream, strndup, clock_gettime */

#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "json.h"
#include "protobuf.h"

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* ---- A model and its signatures: names for the caller, tensors of the graph ---- */

typedef struct {
  char *name;
  TF_Output tensor;
} Port;

typedef struct {
  int count;
  Port *ports;
} Ports;

typedef struct {
  char *name;
  Ports inputs, outputs;
} Signature;

typedef struct {
  TF_Session *session;
  int signature_count;
  Signature *signatures;
} Model;

/* Field numbers of meta_graph.proto; an entry of a map holds its key in 1 and its value in 2. */
enum { META_GRAPH_SIGNATURES = 5, SIGNATURE_INPUTS = 1, SIGNATURE_OUTPUTS = 2, TENSOR_NAME = 1 };
enum { KEY = 1, VALUE = 2 };

static TF_Output find_tensor(TF_Graph *graph, char *name) {
  char *colon = strrchr(name, ':');
  int index = colon == NULL ? 0 : atoi(colon + 1);
  if (colon != NULL) *colon = '\0';
  TF_Operation *operation = TF_GraphOperationByName(graph, name);
  if (operation == NULL) fail("the graph has no operation", name);
  return (TF_Output){operation, index};
}

static Ports read_ports(Bytes signature, uint32_t kind, TF_Graph *graph, TF_Status *status) {
  Ports read = {0};
  Field field;
  while (next_field(&signature, &field, status)) {
    if (field.number != kind) continue;
    char *tensor = text_of(field_of(field_of(field.content, VALUE, status), TENSOR_NAME, status));
    read.ports = checked(realloc(read.ports, (size_t)(read.count + 1) * sizeof(Port)));
    read.ports[read.count++] =
        (Port){text_of(field_of(field.content, KEY, status)), find_tensor(graph, tensor)};
    free(tensor);
  }
  return read;
}

static void read_signatures(Model *model, Bytes meta_graph, TF_Graph *graph, TF_Status *status) {
  Field field;
  while (next_field(&meta_graph, &field, status)) {
    if (field.number != META_GRAPH_SIGNATURES) continue;
    Bytes signature = field_of(field.content, VALUE, status);
    size_t size = (size_t)(model->signature_count + 1) * sizeof(Signature);
    model->signatures = checked(realloc(model->signatures, size));
    model->signatures[model->signature_count++] = (Signature){
        .name = text_of(field_of(field.content, KEY, status)),
        .inputs = read_ports(signature, SIGNATURE_INPUTS, graph, status),
        .outputs = read_ports(signature, SIGNATURE_OUTPUTS, graph, status),
    };
  }
}

static void load_op_libraries(TF_Status *status) {
  const char *libraries = getenv("TFHF_OP_LIBRARIES");
  char *paths = checked(strdup(libraries == NULL ? "" : libraries)), *rest = paths;
  for (char *path; (path = strtok_r(rest, ":", &rest)) != NULL;) {
    TF_LoadLibrary(path, status);
    check(status, path);
  }
  free(paths);
}

static Model load(const char *directory, TF_Status *status) {
  const char *tags[] = {"serve"};
  Model model = {0};
  double start = now();
  load_op_libraries(status);
  TF_SessionOptions *options = TF_NewSessionOptions();
  TF_Graph *graph = TF_NewGraph();
  TF_Buffer *meta_graph = TF_NewBuffer();
  model.session = TF_LoadSessionFromSavedModel(options, NULL, directory, tags, 1, graph, meta_graph,
                                               status);
  check(status, directory);
  const uint8_t *data = meta_graph->data;
  read_signatures(&model, (Bytes){data, data + meta_graph->length}, graph, status);
  check(status, directory);
  TF_DeleteBuffer(meta_graph);
  TF_DeleteSessionOptions(options);
  printf("{\"loaded\": %.6f}\n", now() - start);
  fflush(stdout);
  return model; /* with its graph, in use until the process ends */
}

/* ---- Requests ---- */

typedef struct {
  uint32_t number, calls;
  const Signature *signature;
  TF_Tensor **inputs; /* as many as the signature has, and in its order */
} Request;

static int find(const Ports *ports, const char *name) {
  for (int i = 0; i < ports->count; i++) {
    if (strcmp(ports->ports[i].name, name) == 0) return i;
  }
  return -1;
}

static void choose_signature(const Model *model, Request *request, const char *name,
                             TF_Status *status) {
  for (int i = 0; i < model->signature_count; i++) {
    if (strcmp(model->signatures[i].name, name) == 0) request->signature = &model->signatures[i];
  }
  if (request->signature == NULL) {
    refuse(status, "the model has no signature %s", name);
    return;
  }
  size_t count = (size_t)request->signature->inputs.count + 1; /* calloc(0) may be NULL */
  request->inputs = checked(calloc(count, sizeof(TF_Tensor *)));
}

static void add_input(Request *request, const char *name, Bytes tensor_proto, TF_Status *status) {
  int i = find(&request->signature->inputs, name);
  if (i < 0) {
    refuse(status, "the signature %s has no input %s", request->signature->name, name);
    return;
  }
  TF_DeleteTensor(request->inputs[i]); /* of a map, the last entry of a key counts */
  request->inputs[i] = checked(TF_AllocateTensor(TF_FLOAT, NULL, 0, sizeof(float)));
  TF_Buffer *buffer =
      TF_NewBufferFromString(tensor_proto.at, (size_t)(tensor_proto.end - tensor_proto.at));
  TF_TensorFromProto(buffer, request->inputs[i], status);
  TF_DeleteBuffer(buffer);
}

/* Field numbers of predict.proto and model.proto. */
enum { REQUEST_MODEL_SPEC = 1, REQUEST_INPUTS = 2, SPEC_SIGNATURE_NAME = 3 };

static void parse_request(const Model *model, Bytes message, Request *request, TF_Status *status) {
  Bytes spec = field_of(message, REQUEST_MODEL_SPEC, status);
  char *name = text_of(field_of(spec, SPEC_SIGNATURE_NAME, status));
  if (ok(status)) {
    choose_signature(model, request, *name == '\0' ? "serving_default" : name, status);
  }
  free(name);
  Field field;
  while (next_field(&message, &field, status)) {
    if (field.number != REQUEST_INPUTS) continue;
    char *input = text_of(field_of(field.content, KEY, status));
    Bytes value = field_of(field.content, VALUE, status);
    if (ok(status)) add_input(request, input, value, status);
    free(input);
  }
  for (int i = 0; ok(status) && i < request->signature->inputs.count; i++) {
    if (request->inputs[i] == NULL) {
      refuse(status, "the signature %s needs the input %s", request->signature->name,
             request->signature->inputs.ports[i].name);
    }
  }
}

static void delete_tensors(TF_Tensor **tensors, int count) {
  for (int i = 0; i < count; i++) {
    TF_DeleteTensor(tensors[i]);
    tensors[i] = NULL;
  }
}

/* ---- Answers ---- */

/* Runs a request as often as it wants, and prints its answer but for the error, if there is one. */
static void answer(const Model *model, const Request *request, FILE *out, TF_Status *status) {
  const Ports *in = &request->signature->inputs, *from = &request->signature->outputs;
  TF_Output *feeds = checked(calloc((size_t)in->count + 1, sizeof *feeds));
  TF_Output *fetches = checked(calloc((size_t)from->count + 1, sizeof *fetches));
  TF_Tensor **outputs = checked(calloc((size_t)from->count + 1, sizeof *outputs));
  for (int i = 0; i < in->count; i++) feeds[i] = in->ports[i].tensor;
  for (int i = 0; i < from->count; i++) fetches[i] = from->ports[i].tensor;

  fprintf(out, "\"start\": %.6f, \"seconds\": [", now());
  for (uint32_t call = 0; call < request->calls && ok(status); call++) {
    delete_tensors(outputs, from->count);
    double start = now();
    TF_SessionRun(model->session, NULL, feeds, request->inputs, in->count, fetches, outputs,
                  from->count, NULL, 0, NULL, status);
    fprintf(out, "%s%.7f", call ? ", " : "", now() - start);
  }
  fputs("], \"outputs\": {", out);
  for (int i = 0; i < from->count && request->calls == 1 && ok(status); i++) {
    if (i > 0) fputs(", ", out);
    print_tensor(out, from->ports[i].name, outputs[i], status);
  }
  putc('}', out);
  delete_tensors(outputs, from->count);
  free(outputs);
  free(fetches);
  free(feeds);
}

static void print_answer(const Model *model, const Request *request, TF_Status *status) {
  char *text = NULL;
  size_t size = 0;
  FILE *out = checked(open_memstream(&text, &size));
  if (ok(status)) answer(model, request, out, status);
  fclose(out);
  flockfile(stdout);
  printf("{\"number\": %" PRIu32 ", ", request->number);
  if (ok(status)) {
    fwrite(text, 1, size, stdout);
  } else {
    printf("\"code\": %d, \"error\": ", (int)TF_GetCode(status));
    print_string(stdout, TF_Message(status), strlen(TF_Message(status)));
  }
  fputs("}\n", stdout);
  fflush(stdout);
  funlockfile(stdout);
  free(text);
}

static void free_request(Request *request) {
  if (request->signature != NULL) delete_tensors(request->inputs, request->signature->inputs.count);
  free(request->inputs);
}

/* ---- Texts from the command line, requests from standard input ---- */

static void ask_texts(const Model *model, char *const *texts, int64_t count, TF_Status *status) {
  Request request = {.calls = 1};
  choose_signature(model, &request, "serving_default", status);
  check(status, "texts");
  const Ports *inputs = &request.signature->inputs;
  if (inputs->count != 1 || TF_OperationOutputType(inputs->ports[0].tensor) != TF_STRING) {
    fail("texts", "serving_default takes something else than one batch of strings");
  }
  size_t size = (size_t)count * sizeof(TF_TString);
  request.inputs[0] = checked(TF_AllocateTensor(TF_STRING, &count, 1, size));
  TF_TString *strings = TF_TensorData(request.inputs[0]);
  for (int64_t i = 0; i < count; i++) {
    TF_TString_Init(&strings[i]);
    TF_TString_Copy(&strings[i], texts[i], strlen(texts[i]));
  }
  print_answer(model, &request, status);
  free_request(&request);
}

static pthread_mutex_t next_request = PTHREAD_MUTEX_INITIALIZER;

/* Reads a request; false at the end of the input. The caller frees `message`. */
static bool read_request(Request *request, uint8_t **message, uint32_t *size) {
  static uint32_t numbers = 0;
  uint32_t header[2];
  pthread_mutex_lock(&next_request);
  bool found = fread(header, sizeof header, 1, stdin) == 1;
  if (found) {
    *size = header[1];
    *message = checked(malloc((size_t)*size + 1));
    found = fread(*message, 1, *size, stdin) == *size;
    *request = (Request){.number = numbers++, .calls = header[0]};
    if (!found) free(*message);
  }
  pthread_mutex_unlock(&next_request);
  return found;
}

static void *answer_requests(void *model) {
  TF_Status *status = TF_NewStatus();
  Request request;
  uint8_t *message;
  uint32_t size;
  while (read_request(&request, &message, &size)) {
    TF_SetStatus(status, TF_OK, "");
    parse_request(model, (Bytes){message, message + size}, &request, status);
    free(message);
    print_answer(model, &request, status);
    free_request(&request);
  }
  TF_DeleteStatus(status);
  return NULL;
}

int main(int argc, char **argv) {
  bool serve = argc == 4 && strcmp(argv[2], "--callers") == 0;
  int callers = serve ? atoi(argv[3]) : 1;
  if (argc < 2 || callers < 1) fail("usage", "saved_model_process DIR (TEXT... | --callers COUNT)");
  TF_Status *status = TF_NewStatus();
  Model model = load(argv[1], status);
  if (serve) {
    pthread_t *threads = checked(calloc((size_t)callers, sizeof *threads));
    for (int i = 0; i < callers; i++) {
      if (pthread_create(&threads[i], NULL, answer_requests, &model)) fail("callers", "no thread");
    }
    for (int i = 0; i < callers; i++) pthread_join(threads[i], NULL);
    free(threads);
  } else {
    ask_texts(&model, argv + 2, argc - 2, status);
  }
  TF_CloseSession(model.session, status);
  TF_DeleteSession(model.session, status);
  TF_DeleteStatus(status);
  return 0;
}
