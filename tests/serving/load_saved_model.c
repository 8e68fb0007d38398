/*
 * Asks an exported model questions without Python, through TF_LoadSessionFromSavedModel: the loader
 * that TF Serving itself is built on. Whatever fails in it fails in a server.
 *
 *     load_saved_model DIR SENTENCE...     prints label<TAB>score<TAB>sentence, a line per sentence
 *     load_saved_model --ids DIR < ROWS    prints every output of the `tokens` signature
 *
 * DIR is one version folder. Without sentences the batch is empty, and so is the answer. The score
 * is the highest of the sentence's `scores`, which is the label's own.
 *
 * ROWS holds one sequence of ids per line, separated by spaces. Shorter rows are padded with zeros,
 * which the attention mask hides; there is one column at least. Each output takes two lines: name,
 * type and shape, then values.
 *
 * The environment variable TFHF_OP_LIBRARIES names the shared libraries with the ops that TensorFlow
 * lacks, separated by colons: those that tfhf.serving.op_libraries(DIR) lists.
 *
 * To build it against the libraries of the pip wheel, TF being the folder of the tensorflow package:
 *     gcc -std=c11 -O1 load_saved_model.c -o load_saved_model -I$TF/include -L$TF \
 *         -l:libtensorflow_cc.so.2 -l:libtensorflow_framework.so.2 -Wl,-rpath,$TF
 */
#define _POSIX_C_SOURCE 200809L /* getline, strdup */

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"
#include "tensorflow/c/tf_tstring.h"

enum { MAX_TENSORS = 256, MAX_NAME = 512 };

static void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("load_saved_model: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(1);
}

static void check(const TF_Status *status, const char *doing) {
  if (TF_GetCode(status) != TF_OK) fail("%s: %s", doing, TF_Message(status));
}

static void *checked(void *memory) {
  if (memory == NULL) fail("out of memory");
  return memory;
}

/* ---- Protocol buffers, as much as a signature needs ---- */

typedef struct {
  const uint8_t *at, *end;
} Bytes;

typedef struct {
  uint32_t number;
  Bytes content; /* empty for fields that are not length-delimited */
} Field;

static uint64_t read_varint(Bytes *bytes) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (bytes->at == bytes->end) break;
    uint8_t byte = *bytes->at++;
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  fail("the MetaGraphDef is damaged: a number does not end");
  return 0;
}

/* Moves past the next field of a message; false at its end. */
static bool next_field(Bytes *message, Field *field) {
  if (message->at == message->end) return false;
  uint64_t tag = read_varint(message), length = 0;
  field->number = (uint32_t)(tag >> 3);
  field->content = (Bytes){message->at, message->at};
  switch (tag & 7) {
    case 0: read_varint(message); return true;
    case 1: length = 8; break;
    case 2: length = read_varint(message); break;
    case 5: length = 4; break;
    default: fail("the MetaGraphDef is damaged: unknown wire type %d", (int)(tag & 7));
  }
  if (length > (uint64_t)(message->end - message->at)) {
    fail("the MetaGraphDef is damaged: field %" PRIu32 " passes its end", field->number);
  }
  if ((tag & 7) == 2) field->content = (Bytes){message->at, message->at + length};
  message->at += length;
  return true;
}

static Bytes field_of(Bytes message, uint32_t number) {
  Field field;
  while (next_field(&message, &field)) {
    if (field.number == number) return field.content;
  }
  return (Bytes){message.end, message.end};
}

static void copy_text(Bytes bytes, char text[MAX_NAME]) {
  size_t length = (size_t)(bytes.end - bytes.at);
  if (length >= MAX_NAME) fail("a name in the signature has %zu bytes", length);
  memcpy(text, bytes.at, length);
  text[length] = '\0';
}

/* ---- The signature: names for the caller, tensors of the graph ---- */

typedef struct {
  char name[MAX_NAME];
  TF_Output tensor;
} Port;

typedef struct {
  int input_count, output_count;
  Port inputs[MAX_TENSORS], outputs[MAX_TENSORS];
} Signature;

/* Field numbers of meta_graph.proto; an entry of a map holds its key in 1 and its value in 2. */
enum { META_GRAPH_SIGNATURES = 5, SIGNATURE_INPUTS = 1, SIGNATURE_OUTPUTS = 2, TENSOR_NAME = 1 };

static TF_Output find_tensor(TF_Graph *graph, char *name) {
  char *colon = strrchr(name, ':');
  int index = colon == NULL ? 0 : atoi(colon + 1);
  if (colon != NULL) *colon = '\0';
  TF_Operation *operation = TF_GraphOperationByName(graph, name);
  if (operation == NULL) fail("the graph has no operation %s", name);
  return (TF_Output){operation, index};
}

static int read_ports(Bytes signature, uint32_t kind, TF_Graph *graph, Port ports[MAX_TENSORS]) {
  int count = 0;
  Field field;
  while (next_field(&signature, &field)) {
    if (field.number != kind) continue;
    if (count == MAX_TENSORS) fail("the signature has more than %d tensors", MAX_TENSORS);
    char tensor_name[MAX_NAME];
    copy_text(field_of(field.content, 1), ports[count].name);
    copy_text(field_of(field_of(field.content, 2), TENSOR_NAME), tensor_name);
    ports[count++].tensor = find_tensor(graph, tensor_name);
  }
  return count;
}

static Signature *read_signature(const TF_Buffer *meta_graph, TF_Graph *graph, const char *wanted) {
  const uint8_t *data = meta_graph->data;
  Bytes message = {data, data + meta_graph->length};
  Field field;
  while (next_field(&message, &field)) {
    if (field.number != META_GRAPH_SIGNATURES) continue;
    char name[MAX_NAME];
    copy_text(field_of(field.content, 1), name);
    if (strcmp(name, wanted) != 0) continue;
    Signature *signature = checked(malloc(sizeof *signature));
    Bytes content = field_of(field.content, 2);
    signature->input_count = read_ports(content, SIGNATURE_INPUTS, graph, signature->inputs);
    signature->output_count = read_ports(content, SIGNATURE_OUTPUTS, graph, signature->outputs);
    return signature;
  }
  fail("the SavedModel has no signature %s", wanted);
  return NULL;
}

static int find_port(const Port *ports, int count, const char *name) {
  for (int i = 0; i < count; i++) {
    if (strcmp(ports[i].name, name) == 0) return i;
  }
  fail("the signature has no %s: was the model exported with its tokenizer?", name);
  return -1;
}

/* ---- Loading and running ---- */

typedef struct {
  TF_Session *session;
  TF_Graph *graph;
  TF_Buffer *meta_graph;
} Model;

static void load_op_libraries(TF_Status *status) {
  const char *listed = getenv("TFHF_OP_LIBRARIES");
  if (listed == NULL) return;
  char *paths = checked(strdup(listed)), *rest = NULL;
  for (char *path = strtok_r(paths, ":", &rest); path; path = strtok_r(NULL, ":", &rest)) {
    TF_LoadLibrary(path, status); /* the handle is needed until the process ends */
    check(status, path);
  }
  free(paths);
}

static Model load(const char *directory, TF_Status *status) {
  load_op_libraries(status);
  Model model = {.graph = TF_NewGraph(), .meta_graph = TF_NewBuffer()};
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *const tags[] = {"serve"};
  model.session = TF_LoadSessionFromSavedModel(options, NULL, directory, tags, 1, model.graph,
                                               model.meta_graph, status);
  check(status, directory);
  TF_DeleteSessionOptions(options);
  return model;
}

static void close_model(Model model, TF_Status *status) {
  TF_CloseSession(model.session, status);
  check(status, "closing");
  TF_DeleteSession(model.session, status);
  check(status, "closing");
  TF_DeleteGraph(model.graph);
  TF_DeleteBuffer(model.meta_graph);
}

static void run(Model model, const Signature *signature, TF_Tensor **inputs, TF_Tensor **outputs,
                TF_Status *status) {
  TF_Output feeds[MAX_TENSORS], fetches[MAX_TENSORS];
  for (int i = 0; i < signature->input_count; i++) feeds[i] = signature->inputs[i].tensor;
  for (int i = 0; i < signature->output_count; i++) fetches[i] = signature->outputs[i].tensor;
  TF_SessionRun(model.session, NULL, feeds, inputs, signature->input_count, fetches, outputs,
                signature->output_count, NULL, 0, NULL, status);
  check(status, "running");
  for (int i = 0; i < signature->input_count; i++) TF_DeleteTensor(inputs[i]);
}

static void delete_tensors(TF_Tensor **tensors, int count) {
  for (int i = 0; i < count; i++) TF_DeleteTensor(tensors[i]);
}

/* ---- Sentences in, labels out ---- */

static TF_Tensor *string_tensor(char *const *sentences, int64_t count) {
  size_t size = (size_t)count * sizeof(TF_TString);
  TF_Tensor *tensor = checked(TF_AllocateTensor(TF_STRING, &count, 1, size));
  TF_TString *strings = TF_TensorData(tensor);
  for (int64_t i = 0; i < count; i++) {
    TF_TString_Init(&strings[i]);
    TF_TString_Copy(&strings[i], sentences[i], strlen(sentences[i]));
  }
  return tensor;
}

/* A tab or line break in a sentence would break the line that repeats it. */
static void print_on_one_line(const char *sentence) {
  for (; *sentence != '\0'; sentence++) putchar(strchr("\t\r\n", *sentence) ? ' ' : *sentence);
  putchar('\n');
}

static void answer_sentences(Model model, char *const *sentences, int count, TF_Status *status) {
  Signature *signature = read_signature(model.meta_graph, model.graph, "serving_default");
  find_port(signature->inputs, signature->input_count, "text");
  int label_port = find_port(signature->outputs, signature->output_count, "label");
  int scores_port = find_port(signature->outputs, signature->output_count, "scores");

  TF_Tensor *input = string_tensor(sentences, count), *outputs[MAX_TENSORS];
  run(model, signature, &input, outputs, status);

  const TF_TString *labels = TF_TensorData(outputs[label_port]);
  const float *scores = TF_TensorData(outputs[scores_port]);
  int64_t score_count = TF_Dim(outputs[scores_port], 1);
  for (int64_t row = 0; row < count; row++) {
    const float *row_scores = scores + row * score_count;
    float highest = row_scores[0];
    for (int64_t i = 1; i < score_count; i++) {
      if (row_scores[i] > highest) highest = row_scores[i];
    }
    int label_length = (int)TF_TString_GetSize(&labels[row]);
    printf("%.*s\t%.6f\t", label_length, TF_TString_GetDataPointer(&labels[row]), highest);
    print_on_one_line(sentences[row]);
  }
  delete_tensors(outputs, signature->output_count);
  free(signature);
}

/* ---- Ids in, every tensor out ---- */

typedef struct {
  int64_t count, longest;
  int64_t *lengths; /* [count] */
  int32_t *ids;     /* the rows one after the other, without padding */
} Rows;

static Rows read_rows(FILE *file) {
  Rows rows = {.longest = 1};
  size_t id_count = 0, line_size = 0;
  char *line = NULL;
  while (getline(&line, &line_size, file) != -1) {
    line[strcspn(line, "\r\n")] = '\0';
    int64_t length = 0;
    for (char *at = line, *end;; at = end, length++) {
      long id = strtol(at, &end, 10);
      if (end == at) {
        if (strspn(at, " ") != strlen(at)) fail("not an id: %s", at);
        break;
      }
      if (id != (int32_t)id) fail("the id %ld does not fit into 32 bits", id);
      rows.ids = checked(realloc(rows.ids, (id_count + 1) * sizeof *rows.ids));
      rows.ids[id_count++] = (int32_t)id;
    }
    rows.lengths = checked(realloc(rows.lengths, (size_t)(rows.count + 1) * sizeof *rows.lengths));
    rows.lengths[rows.count++] = length;
    if (length > rows.longest) rows.longest = length;
  }
  free(line);
  return rows;
}

/* The rows as one [count, longest] tensor for the input of that name, or for a decoder's. */
static TF_Tensor *row_tensor(const char *name, const Rows *rows) {
  if (strncmp(name, "decoder_", strlen("decoder_")) == 0) name += strlen("decoder_");
  bool is_ids = strcmp(name, "input_ids") == 0, is_mask = strcmp(name, "attention_mask") == 0;
  if (!is_ids && !is_mask && strcmp(name, "token_type_ids") != 0) {
    fail("don't know what to feed to the input %s", name);
  }
  int64_t shape[] = {rows->count, rows->longest};
  size_t size = (size_t)(rows->count * rows->longest) * sizeof(int32_t);
  TF_Tensor *tensor = checked(TF_AllocateTensor(TF_INT32, shape, 2, size));
  int32_t *values = TF_TensorData(tensor);
  const int32_t *ids = rows->ids;
  for (int64_t row = 0; row < rows->count; ids += rows->lengths[row++]) {
    for (int64_t i = 0; i < rows->longest; i++) {
      bool present = i < rows->lengths[row];
      *values++ = is_mask ? present : is_ids && present ? ids[i] : 0;
    }
  }
  return tensor;
}

static const char *type_name(TF_DataType type) {
  switch (type) {
    case TF_FLOAT: return "float32";
    case TF_INT32: return "int32";
    case TF_INT64: return "int64";
    default: fail("tensors of the type %d are not printed here", (int)type); return NULL;
  }
}

static void print_tensor(const char *name, const TF_Tensor *tensor) {
  TF_DataType type = TF_TensorType(tensor);
  const void *data = TF_TensorData(tensor);
  printf("%s %s", name, type_name(type));
  for (int i = 0; i < TF_NumDims(tensor); i++) printf(" %" PRId64, TF_Dim(tensor, i));
  putchar('\n');
  for (int64_t i = 0; i < TF_TensorElementCount(tensor); i++) {
    if (i > 0) putchar(' ');
    switch (type) {
      case TF_FLOAT: printf("%.9g", ((const float *)data)[i]); break; /* 9 digits are exact */
      case TF_INT32: printf("%" PRId32, ((const int32_t *)data)[i]); break;
      default: printf("%" PRId64, ((const int64_t *)data)[i]);
    }
  }
  putchar('\n');
}

static void answer_ids(Model model, FILE *file, TF_Status *status) {
  Signature *signature = read_signature(model.meta_graph, model.graph, "tokens");
  Rows rows = read_rows(file);
  TF_Tensor *inputs[MAX_TENSORS], *outputs[MAX_TENSORS];
  for (int i = 0; i < signature->input_count; i++) {
    inputs[i] = row_tensor(signature->inputs[i].name, &rows);
  }
  run(model, signature, inputs, outputs, status);
  for (int i = 0; i < signature->output_count; i++) {
    print_tensor(signature->outputs[i].name, outputs[i]);
  }
  delete_tensors(outputs, signature->output_count);
  free(rows.ids);
  free(rows.lengths);
  free(signature);
}

int main(int argc, char **argv) {
  bool ids = argc > 1 && strcmp(argv[1], "--ids") == 0;
  if (argc < 2 || (ids && argc != 3)) {
    fail("usage: load_saved_model DIR SENTENCE... | load_saved_model --ids DIR < ROWS");
  }
  TF_Status *status = TF_NewStatus();
  Model model = load(argv[ids ? 2 : 1], status);
  if (ids) {
    answer_ids(model, stdin, status);
  } else {
    answer_sentences(model, argv + 2, argc - 2, status);
  }
  close_model(model, status);
  TF_DeleteStatus(status);
  return 0;
}
