/* What TensorRT's Python bindings want of its libraries, and a driver with one GPU. Nothing here works: a builder or a
   runtime is refused, with a complaint, as the real library does where the driver is too old for it. */

#include <string.h>

/* The complaint goes the real way: through the logger's virtual function log(severity, message). */
static void *refuse(void *logger) {
    void (**functions)(void *, int, const char *) = *(void (***)(void *, int, const char *))logger;
    functions[LOG_SLOT](logger, 1, "CUDA initialization failure with error: 35.");
    return 0;
}

void *createInferBuilder_INTERNAL(void *logger, int version) { return refuse(logger); }
void *createInferRuntime_INTERNAL(void *logger, int version) { return refuse(logger); }
void *createInferRefitter_INTERNAL(void) { return 0; }
void *createNvOnnxParser_INTERNAL(void) { return 0; }
void *createNvOnnxParserRefitter_INTERNAL(void) { return 0; }
void *getBuilderPluginRegistry(void) { return 0; }
void *getNvOnnxParserVersion(void) { return 0; }
void *getPluginRegistry(void) { return 0; }
void *initLibNvInferPlugins(void) { return 0; }

/* Parsers of Caffe and UFF, which 8 still had. */
void *_ZN11nvuffparser15createUffParserEv(void) { return 0; }
void *_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi(void) { return 0; }
void *_ZN14nvcaffeparser117createCaffeParserEv(void) { return 0; }
void *_ZN14nvcaffeparser123shutdownProtobufLibraryEv(void) { return 0; }

int cuInit(unsigned flags) { return 0; }
int cuDeviceGet(int *device, int ordinal) { return *device = 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDriverGetVersion(int *version) { *version = 12080; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Stand-in GPU", size); return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) { *value = attribute == 75 ? 9 : 0; return 0; }
