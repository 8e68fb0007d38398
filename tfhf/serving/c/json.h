/* Tensors as JSON: {"dtype": NumPy's name, "shape": [...], "values": [all, in one list]}. */
#pragma once

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "errors.h"
#include "tensorflow/c/tf_tstring.h"

static void print_string(FILE *out, const char *string, size_t length) {
  putc('"', out);
  for (size_t i = 0; i < length; i++) {
    unsigned char byte = (unsigned char)string[i];
    if (byte < 0x20) {
      fprintf(out, "\\u%04x", byte);
    } else {
      if (byte == '"' || byte == '\\') putc('\\', out);
      putc(byte, out);
    }
  }
  putc('"', out);
}

static void print_number(FILE *out, double value, int digits) {
  if (isnan(value)) {
    fputs("NaN", out);
  } else if (isinf(value)) {
    fputs(value > 0 ? "Infinity" : "-Infinity", out);
  } else {
    fprintf(out, "%.*g", digits, value);
  }
}

static void print_value(FILE *out, TF_DataType type, const void *data, int64_t i) {
  switch (type) {
    case TF_FLOAT: print_number(out, ((const float *)data)[i], 9); break; /* 9 digits are exact */
    case TF_DOUBLE: print_number(out, ((const double *)data)[i], 17); break;
    case TF_INT32: fprintf(out, "%" PRId32, ((const int32_t *)data)[i]); break;
    case TF_INT64: fprintf(out, "%" PRId64, ((const int64_t *)data)[i]); break;
    case TF_BOOL: fputs(((const bool *)data)[i] ? "true" : "false", out); break;
    default: { /* a string: type_name() knows no others */
      const TF_TString *string = &((const TF_TString *)data)[i];
      print_string(out, TF_TString_GetDataPointer(string), TF_TString_GetSize(string));
    }
  }
}

/* NumPy's name; NULL for what is not printed here. */
static const char *type_name(TF_DataType type) {
  switch (type) {
    case TF_FLOAT: return "float32";
    case TF_DOUBLE: return "float64";
    case TF_INT32: return "int32";
    case TF_INT64: return "int64";
    case TF_BOOL: return "bool";
    case TF_STRING: return "object";
    default: return NULL;
  }
}

static void print_tensor(FILE *out, const char *name, const TF_Tensor *tensor, TF_Status *status) {
  TF_DataType type = TF_TensorType(tensor);
  if (type_name(type) == NULL) {
    refuse(status, "the output %s has the type %d, which cannot be printed", name, (int)type);
    return;
  }
  print_string(out, name, strlen(name));
  fprintf(out, ": {\"dtype\": \"%s\", \"shape\": [", type_name(type));
  for (int i = 0; i < TF_NumDims(tensor); i++) {
    fprintf(out, "%s%" PRId64, i ? ", " : "", TF_Dim(tensor, i));
  }
  fputs("], \"values\": [", out);
  for (int64_t i = 0; i < TF_TensorElementCount(tensor); i++) {
    if (i > 0) fputs(", ", out);
    print_value(out, type, TF_TensorData(tensor), i);
  }
  fputs("]}", out);
}
