// Streams: reading and writing through buffers, copying, and a connection inside the program.
#pragma once

#include <weft/io/buffered_reader.hpp>
#include <weft/io/buffered_writer.hpp>
#include <weft/io/copy.hpp>
#include <weft/io/limit_reader.hpp>
#include <weft/io/pipe.hpp>
#include <weft/io/read.hpp>
#include <weft/io/stream.hpp>
