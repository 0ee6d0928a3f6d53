// What a function finds after it has changed its thread; probe.cpp is compiled in many ways.
#pragma once

#include <string>
#include <thread>
#include <vector>

#include <pthread.h>

namespace traps {

// Whose the errno, id or variable is that a probe was given.
enum class whose { this_threads, another_threads, nobodys };

// When it must be this thread's.
enum class promise { always, with_header, none };

struct probe {
  const char* name;
  promise promised;
  whose (*find)();
};

// variant is one way in which probe.cpp was compiled.
struct variant {
  std::string name;  // "guarded.O2.pic": with weft/errno.hpp; "plain.O2.pic" without
  bool guarded;
  bool optimised;
  std::vector<probe> probes;
};

// add_variant is called before main.
bool add_variant(variant v);

// The truth, by functions that no optimisation of their caller reaches.
void change_thread();       // to another one, for certain; the one left does nothing meanwhile
int fresh_value();          // a value that no call leaves in errno, a new one each time
void set_errno_here(int);   // of the thread that the caller is on now
int errno_here();
pthread_t self_here();
std::thread::id id_here();

}  // namespace traps
